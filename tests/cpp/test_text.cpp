// Which strings are texts: UTF-8 against table 3-7 of the Unicode Standard, blanks against its White_Space
// property.
#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "check.hpp"
#include "embedding/text.hpp"
#include "fastplr/embedder.hpp"
#include "fastplr/errors.hpp"

using fastplr::InputError;
using namespace std::string_literals;

namespace {

struct ByteRange {
    unsigned low, high;
};

// The Unicode Standard, table 3-7: well-formed UTF-8 byte sequences; 0 bytes left out as NUL is no text.
const std::vector<std::vector<ByteRange>> kWellFormed{
    {{0x01, 0x7F}},
    {{0xC2, 0xDF}, {0x80, 0xBF}},
    {{0xE0, 0xE0}, {0xA0, 0xBF}, {0x80, 0xBF}},
    {{0xE1, 0xEC}, {0x80, 0xBF}, {0x80, 0xBF}},
    {{0xED, 0xED}, {0x80, 0x9F}, {0x80, 0xBF}},
    {{0xEE, 0xEF}, {0x80, 0xBF}, {0x80, 0xBF}},
    {{0xF0, 0xF0}, {0x90, 0xBF}, {0x80, 0xBF}, {0x80, 0xBF}},
    {{0xF1, 0xF3}, {0x80, 0xBF}, {0x80, 0xBF}, {0x80, 0xBF}},
    {{0xF4, 0xF4}, {0x80, 0x8F}, {0x80, 0xBF}, {0x80, 0xBF}},
};

std::size_t well_formed_bytes(std::string_view text) {
    for (const auto& row : kWellFormed) {
        bool fits = row.size() <= text.size();
        for (std::size_t i = 0; fits && i < row.size(); ++i) {
            const auto byte = static_cast<unsigned char>(text[i]);
            fits = byte >= row[i].low && byte <= row[i].high;
        }
        if (fits) return row.size();
    }
    return 0;
}

bool is_well_formed(std::string_view text) {
    while (!text.empty()) {
        const std::size_t n = well_formed_bytes(text);
        if (n == 0) return false;
        text.remove_prefix(n);
    }
    return true;
}

bool is_accepted(const std::string& text) {
    try {
        fastplr::check_utf8(text, "it");
        return true;
    } catch (const InputError&) {
        return false;
    }
}

std::string utf8(char32_t c) {
    const auto byte = [](char32_t value) { return static_cast<char>(static_cast<unsigned char>(value)); };
    if (c < 0x80) return {byte(c)};
    if (c < 0x800) return {byte(0xC0 | c >> 6), byte(0x80 | (c & 0x3F))};
    if (c < 0x10000) return {byte(0xE0 | c >> 12), byte(0x80 | (c >> 6 & 0x3F)), byte(0x80 | (c & 0x3F))};
    return {byte(0xF0 | c >> 18), byte(0x80 | (c >> 12 & 0x3F)), byte(0x80 | (c >> 6 & 0x3F)),
            byte(0x80 | (c & 0x3F))};
}

}  // namespace

TEST_CASE("every code point but NUL and the surrogates is taken") {
    for (char32_t c = 0; c <= 0x110000; ++c) {
        const bool is_character = c != 0 && (c < 0xD800 || c > 0xDFFF) && c <= 0x10FFFF;
        if (is_accepted(utf8(c)) != is_character) CHECK(c == 0xFFFFFFFF);
    }
}

TEST_CASE("byte sequences are taken exactly where table 3-7 says so") {
    // Every lead byte with every byte at which a rule begins or ends; also cut short after each byte.
    const std::array<unsigned, 14> edges{0x00, 0x41, 0x7F, 0x80, 0x8F, 0x90, 0x9F,
                                         0xA0, 0xBF, 0xC0, 0xC2, 0xE0, 0xF0, 0xFF};
    int n_wrong = 0;
    for (unsigned lead = 0; lead < 256; ++lead) {
        for (const unsigned second : edges) {
            for (const unsigned third : edges) {
                std::string bytes{static_cast<char>(lead), static_cast<char>(second),
                                  static_cast<char>(third), '\x80'};
                for (; !bytes.empty(); bytes.pop_back()) {
                    n_wrong += is_accepted(bytes) != is_well_formed(bytes) ? 1 : 0;
                }
            }
        }
    }
    CHECK(n_wrong == 0);
}

TEST_CASE("messages name the byte and where it stands") {
    CHECK_THROWS(fastplr::check_utf8("ab\xC0\xAF", "the suffix"), InputError,
                 "the suffix is not valid UTF-8: byte 0xC0 at byte 2");                          // overlong
    CHECK_THROWS(fastplr::check_utf8("\xED\xA0\x80", "it"), InputError, "byte 0xED at byte 0");  // surrogate
    CHECK_THROWS(fastplr::check_utf8("caf\xC3", "it"), InputError, "byte 0xC3 at byte 3");       // cut short
    CHECK_THROWS(fastplr::check_utf8("\xF4\x90\x80\x80", "it"), InputError, "byte 0xF4 at byte 0");
    CHECK_THROWS(fastplr::check_utf8("caf\xE9 noir", "it"), InputError, "byte 0xE9 at byte 3");  // Latin-1
    CHECK_THROWS(fastplr::check_utf8("a\xC3\xA9\0b"s, "it"), InputError, "it holds a NUL byte at byte 3");
}

TEST_CASE("white space and characters that show nothing make no text") {
    // Unicode 15 PropList.txt, White_Space; then the zero-width characters and the byte-order mark.
    std::vector<char32_t> blanks{0x20,   0x85,   0xA0,   0x1680, 0x2028, 0x2029, 0x202F,
                                 0x205F, 0x3000, 0x200B, 0x200C, 0x200D, 0x2060, 0xFEFF};
    for (char32_t c = 0x09; c <= 0x0D; ++c) blanks.push_back(c);
    for (char32_t c = 0x2000; c <= 0x200A; ++c) blanks.push_back(c);
    std::string all;
    for (const char32_t c : blanks) {
        all += utf8(c);
        CHECK_THROWS(fastplr::check_text(utf8(c), 7), InputError, "texts[7] is blank (white space only)");
        fastplr::check_text(utf8(c) + "x" + utf8(c), 7);
    }
    CHECK_THROWS(fastplr::check_text(all, 0), InputError, "texts[0] is blank");
    CHECK_THROWS(fastplr::check_text("", 3), InputError, "texts[3] is empty");
    for (const char32_t c : {0x21, 0x2E, 0x41, 0xE9, 0x65E5, 0x1F600, 0x10FFFD})
        fastplr::check_text(utf8(c), 0);
}

TEST_CASE("the first bad text of many is named") {
    fastplr::check_texts({});
    fastplr::check_texts({"good", "\xC3\xA9"});
    CHECK_THROWS(fastplr::check_texts({"good", "  ", ""}), InputError, "texts[1] is blank");
    CHECK_THROWS(fastplr::check_texts({"good", "also", "a\xFFz"}), InputError,
                 "texts[2] is not valid UTF-8: byte 0xFF at byte 1");
}

TEST_CASE("a long text is shown cut, and never inside a character") {
    CHECK(fastplr::shown("a film") == "'a film'");
    const std::string sixty(60, 'x');
    CHECK(fastplr::shown(sixty) == "'" + sixty + "'");
    CHECK(fastplr::shown(sixty + "y") == "'" + sixty + "...'");
    for (std::size_t n_before = 55; n_before <= 60; ++n_before) {
        const std::string cut = fastplr::shown(std::string(n_before, 'x') + utf8(0x1F600) + "tail");
        CHECK(is_well_formed(cut));
        CHECK(cut.size() <= 60 + 5);
    }
}
