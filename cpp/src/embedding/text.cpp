#include "embedding/text.hpp"

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <optional>

#include "fastplr/errors.hpp"

namespace fastplr {
namespace {

struct Decoded {
    char32_t code;
    std::size_t size;
};

// One code point at `text[i]`; empty where the bytes are ill-formed (Unicode 15, table 3-7: overlong forms,
// surrogates and values above U+10FFFF are ill-formed).
std::optional<Decoded> decode(std::string_view text, std::size_t i) {
    const auto byte = [&](std::size_t k) { return static_cast<std::uint8_t>(text[k]); };
    const std::uint8_t lead = byte(i);
    if (lead < 0x80) return Decoded{lead, 1};
    const std::size_t size = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
    if (lead < 0xC2 || lead > 0xF4 || i + size > text.size()) return std::nullopt;
    char32_t code = lead & (0xFFu >> (size + 1));
    for (std::size_t k = i + 1; k < i + size; ++k) {
        if ((byte(k) & 0xC0) != 0x80) return std::nullopt;
        code = code << 6 | (byte(k) & 0x3F);
    }
    constexpr char32_t kSmallest[] = {0, 0, 0x80, 0x800, 0x10000};
    if (code < kSmallest[size] || code > 0x10FFFF || (code >= 0xD800 && code <= 0xDFFF)) return std::nullopt;
    return Decoded{code, size};
}

// White space and the characters that show nothing: Unicode's White_Space property, zero-width spaces and the
// BOM.
bool is_blank(char32_t c) {
    return (c >= 0x09 && c <= 0x0D) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 ||
           (c >= 0x2000 && c <= 0x200D) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
           c == 0x2060 || c == 0x3000 || c == 0xFEFF;
}

bool is_continuation(char c) { return (static_cast<std::uint8_t>(c) & 0xC0) == 0x80; }

enum class Kind { letter, digit, blank, other };

Kind kind_of(char32_t c) {
    if (is_blank(c)) return Kind::blank;
    if (c >= '0' && c <= '9') return Kind::digit;
    // Beyond ASCII everything counts as a letter: this only has to be at least as long as any match.
    if (c >= 0x80 || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z')) return Kind::letter;
    return Kind::other;
}

struct Run {
    std::size_t longest = 0;
    std::size_t end_of_allowed = 0;
};

Run scan_runs(std::string_view text) {
    Run run;
    run.end_of_allowed = text.size();
    std::size_t length = 0;
    Kind last = Kind::other;
    for (std::size_t i = 0; i < text.size();) {
        const auto decoded = decode(text, i);
        const Kind kind = decoded ? kind_of(decoded->code) : Kind::other;
        length = kind == last ? length + 1 : 1;
        last = kind;
        if (length > kLongestRun && run.longest <= kLongestRun) run.end_of_allowed = i;
        run.longest = std::max(run.longest, length);
        i += decoded ? decoded->size : 1;
    }
    return run;
}

}  // namespace

std::size_t longest_run(std::string_view text) { return scan_runs(text).longest; }

std::size_t end_of_longest_allowed_run(std::string_view text) { return scan_runs(text).end_of_allowed; }

std::size_t character_start(std::string_view text, std::size_t position) {
    if (position >= text.size()) return text.size();
    while (position > 0 && is_continuation(text[position])) --position;
    return position;
}

std::string shown(std::string_view text) {
    constexpr std::size_t kLongest = 60;
    if (text.size() <= kLongest) return "'" + std::string(text) + "'";
    std::size_t end = kLongest;
    while (end > 0 && is_continuation(text[end])) --end;
    return "'" + std::string(text.substr(0, end)) + "...'";
}

void check_utf8(std::string_view text, const std::string& what) {
    for (std::size_t i = 0; i < text.size();) {
        if (text[i] == '\0') {
            throw InputError(what + " holds a NUL byte at byte " + std::to_string(i) +
                             ": expected text without NUL bytes");
        }
        const auto decoded = decode(text, i);
        if (!decoded) {
            char hex[8];
            std::snprintf(hex, sizeof hex, "0x%02X",
                          static_cast<unsigned>(static_cast<std::uint8_t>(text[i])));
            throw InputError(what + " is not valid UTF-8: byte " + hex + " at byte " + std::to_string(i));
        }
        i += decoded->size;
    }
}

void check_text(std::string_view text, std::size_t index) {
    const std::string what = "texts[" + std::to_string(index) + "]";
    check_utf8(text, what);
    for (std::size_t i = 0; i < text.size();) {
        const auto decoded = decode(text, i);
        if (!is_blank(decoded->code)) return;
        i += decoded->size;
    }
    throw InputError(what + (text.empty() ? " is empty" : " is blank (white space only)") +
                     ": expected at least one visible character");
}

}  // namespace fastplr
