// The characters of a text, and what kind each is of.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace fastplr {

struct Character {
    std::uint32_t code = 0;
    std::size_t begin = 0;  ///< of its bytes in the text
    std::size_t end = 0;
};

/// Of a text in UTF-8; a byte that belongs to no character is one of its own (U+FFFD).
std::vector<Character> characters_of(const std::string& text);

bool is_space(std::uint32_t code);
bool is_letter(std::uint32_t code);
bool is_number(std::uint32_t code);
/// Accents and other marks that belong to the character before them.
bool is_mark(std::uint32_t code);
bool is_punctuation(std::uint32_t code);

/// Without accents, in lower case: what a tokeniser that normalises may have made of a character; nothing for
/// white space, marks and control characters.
std::vector<std::uint32_t> plain_form(std::uint32_t code);

}  // namespace fastplr
