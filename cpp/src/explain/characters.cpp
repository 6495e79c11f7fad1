#include "explain/characters.hpp"

#include "unicode.h"

namespace fastplr {

std::vector<Character> characters_of(const std::string& text) {
    std::vector<Character> characters;
    for (std::size_t i = 0; i < text.size();) {
        const auto lead = static_cast<unsigned char>(text[i]);
        const std::size_t length = lead < 0x80         ? 1
                                   : lead >> 5 == 0x6  ? 2
                                   : lead >> 4 == 0xE  ? 3
                                   : lead >> 3 == 0x1E ? 4
                                                       : 0;
        std::uint32_t code = length <= 1 ? lead : lead & (0x7FU >> length);
        bool whole = length > 0 && i + length <= text.size();
        for (std::size_t k = 1; whole && k < length; ++k) {
            const auto byte = static_cast<unsigned char>(text[i + k]);
            whole = (byte & 0xC0U) == 0x80U;
            code = code << 6U | (byte & 0x3FU);
        }
        const std::size_t n = whole ? length : 1;
        characters.push_back({whole ? code : 0xFFFD, i, i + n});
        i += n;
    }
    return characters;
}

bool is_space(std::uint32_t code) {
    const auto flags = unicode_cpt_flags_from_cpt(code);
    return flags.is_whitespace || flags.is_separator || code == 0x200B;
}

bool is_letter(std::uint32_t code) { return unicode_cpt_flags_from_cpt(code).is_letter; }
bool is_number(std::uint32_t code) { return unicode_cpt_flags_from_cpt(code).is_number; }
bool is_mark(std::uint32_t code) { return unicode_cpt_flags_from_cpt(code).is_accent_mark; }
bool is_punctuation(std::uint32_t code) { return unicode_cpt_flags_from_cpt(code).is_punctuation; }

std::vector<std::uint32_t> plain_form(std::uint32_t code) {
    std::vector<std::uint32_t> plain;
    for (const std::uint32_t part : unicode_cpts_normalize_nfd({code})) {
        const auto flags = unicode_cpt_flags_from_cpt(part);
        if (flags.is_whitespace || flags.is_separator || flags.is_accent_mark || flags.is_control) continue;
        plain.push_back(unicode_tolower(part));
    }
    return plain;
}

}  // namespace fastplr
