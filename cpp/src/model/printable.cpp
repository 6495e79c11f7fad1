#include "model/printable.hpp"

#include <cstdint>

namespace fastplr {

namespace {

/// Length in bytes of the well-formed UTF-8 character at the start of `text` (Unicode 15, table 3-7), 0 if
/// there is none.
std::size_t character_length(std::string_view text) {
    const auto byte = [&](std::size_t i) -> unsigned { return static_cast<unsigned char>(text[i]); };
    const unsigned lead = byte(0);
    if (lead < 0x80) return 1;
    std::size_t length = 0;
    unsigned low = 0x80,
             high = 0xBF;  // bounds of the second byte: they exclude overlong forms and surrogates
    if (lead >= 0xC2 && lead <= 0xDF) {
        length = 2;
    } else if (lead >= 0xE0 && lead <= 0xEF) {
        length = 3;
        if (lead == 0xE0) low = 0xA0;
        if (lead == 0xED) high = 0x9F;
    } else if (lead >= 0xF0 && lead <= 0xF4) {
        length = 4;
        if (lead == 0xF0) low = 0x90;
        if (lead == 0xF4) high = 0x8F;
    } else {
        return 0;
    }
    if (text.size() < length || byte(1) < low || byte(1) > high) return 0;
    for (std::size_t i = 2; i < length; ++i) {
        if ((byte(i) & 0xC0u) != 0x80u) return 0;
    }
    return length;
}

void append_hex(std::string& out, unsigned char byte) {
    constexpr char digits[] = "0123456789abcdef";
    out += "\\x";
    out += digits[byte >> 4];
    out += digits[byte & 15];
}

}  // namespace

std::string_view utf8_prefix(std::string_view text, std::size_t max_bytes) {
    if (text.size() <= max_bytes) return text;
    std::size_t end = max_bytes;
    // Step back over at most three continuation bytes to the lead byte of the character that would be cut.
    for (int i = 0; i < 3 && end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0u) == 0x80u; ++i) --end;
    return text.substr(0, end);
}

std::string quoted(std::string_view text, std::size_t max_bytes) {
    const std::string_view shown = utf8_prefix(text, max_bytes);
    std::string out = "'";
    for (std::size_t i = 0; i < shown.size();) {
        const std::size_t length = character_length(shown.substr(i));
        const auto byte = static_cast<unsigned char>(shown[i]);
        if (length == 0 || byte < 0x20 || byte == 0x7F || byte == '\'' || byte == '\\') {
            append_hex(out, byte);
            ++i;
        } else {
            out.append(shown.substr(i, length));
            i += length;
        }
    }
    out += '\'';
    if (shown.size() < text.size()) out += "... (" + std::to_string(text.size()) + " bytes)";
    return out;
}

std::string valid_utf8(std::string_view text) {
    std::string out;
    out.reserve(text.size());
    for (std::size_t i = 0; i < text.size();) {
        const std::size_t length = character_length(text.substr(i));
        if (length == 0) {
            out += "\xEF\xBF\xBD";
            ++i;
        } else {
            out.append(text.substr(i, length));
            i += length;
        }
    }
    return out;
}

}  // namespace fastplr
