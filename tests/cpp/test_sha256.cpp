// SHA-256 against the vectors that NIST publishes with FIPS 180-4, and against itself fed in pieces of every
// size.
#include <filesystem>
#include <fstream>
#include <string>

#include "check.hpp"
#include "fastplr/errors.hpp"
#include "fastplr/sha256.hpp"

namespace {

std::string digest(const std::string& text) {
    fastplr::Sha256 hash;
    hash.update(text.data(), text.size());
    return hash.hex_digest();
}

}  // namespace

TEST_CASE("published vectors") {
    CHECK(digest("") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    CHECK(digest("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    CHECK(digest("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq") ==
          "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    CHECK(digest(std::string(1000000, 'a')) ==
          "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST_CASE("the size of the pieces does not matter") {
    for (std::size_t length : {55u, 56u, 57u, 63u, 64u, 65u, 119u, 120u, 128u, 200u}) {
        const std::string text(length, 'x');
        const std::string whole = digest(text);
        for (std::size_t piece = 1; piece <= length; ++piece) {
            fastplr::Sha256 hash;
            for (std::size_t i = 0; i < length; i += piece)
                hash.update(text.data() + i, std::min(piece, length - i));
            CHECK(hash.hex_digest() == whole);
        }
    }
}

TEST_CASE("files are read in pieces") {
    const auto path = std::filesystem::temp_directory_path() / "fastplr_test_sha256.bin";
    std::ofstream(path, std::ios::binary) << std::string(1000000, 'a');
    CHECK(fastplr::sha256_file(path.string()) ==
          "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    std::filesystem::remove(path);
    CHECK_THROWS(fastplr::sha256_file(path.string()), fastplr::ModelError, "no such file");
}
