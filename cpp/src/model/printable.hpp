// Text from a file of unknown origin, made safe to show: in an error message, in Python, in a terminal.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace fastplr {

/// `text` in single quotes for an error message: control characters, quotes and bytes that are not valid
/// UTF-8 become \xNN; what is longer than `max_bytes` is cut and its length is said.
std::string quoted(std::string_view text, std::size_t max_bytes = 80);

/// `text` with every byte that is not part of valid UTF-8 replaced by U+FFFD, so that it converts to a Python
/// str.
std::string valid_utf8(std::string_view text);

/// The longest prefix of at most `max_bytes` bytes that does not cut a UTF-8 character in two.
std::string_view utf8_prefix(std::string_view text, std::size_t max_bytes);

}  // namespace fastplr
