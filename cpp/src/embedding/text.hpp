// Which strings fastplr takes for a text.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace fastplr {

/// Throws InputError, naming `what` and the offending byte, unless `text` is well-formed UTF-8 without NUL
/// bytes.
void check_utf8(std::string_view text, const std::string& what);

/// As check_utf8, and the text must hold at least one character that is not white space.
void check_text(std::string_view text, std::size_t index);

/// Characters of one kind (letters, digits, white space, others) that may follow one another without a break.
/// The tokenisers of some models match such a run by recursion (std::regex in llama.cpp's unicode.cpp), a
/// stack frame or more a character.
inline constexpr std::size_t kLongestRun = 65536;

/// Characters of the longest run of one kind in well-formed UTF-8.
std::size_t longest_run(std::string_view text);

/// Where the first run of more than kLongestRun characters has to be cut; the size of the text where there is
/// none.
std::size_t end_of_longest_allowed_run(std::string_view text);

/// The last start of a character at or before `position`.
std::size_t character_start(std::string_view text, std::size_t position);

/// The text for an error message: at most 60 bytes, cut between characters, quoted.
std::string shown(std::string_view text);

}  // namespace fastplr
