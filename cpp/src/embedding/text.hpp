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

/// The text for an error message: at most 60 bytes, cut between characters, quoted.
std::string shown(std::string_view text);

}  // namespace fastplr
