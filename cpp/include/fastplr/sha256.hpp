// SHA-256 of files: the identity of a model.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

namespace fastplr {

/// SHA-256 as in FIPS 180-4, section 6.2, fed in pieces of any size.
class Sha256 {
  public:
    Sha256();
    void update(const void* data, std::size_t n_bytes);
    /// The digest of everything fed so far, as 64 lower-case hexadecimal digits. May be called once.
    std::string hex_digest();

  private:
    void compress(const unsigned char* block);

    std::array<std::uint32_t, 8> state_;
    std::array<unsigned char, 64> pending_{};
    std::size_t n_pending_ = 0;
    std::uint64_t n_bytes_ = 0;
};

/// The SHA-256 of the file at `path`, read once in pieces, as 64 lower-case hexadecimal digits.
/// \throws ModelError if it is missing, a directory, empty, or cannot be read.
std::string sha256_file(const std::string& path);

}  // namespace fastplr
