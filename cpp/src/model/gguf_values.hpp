// Single metadata values: their sizes and how they are read. Shared by the two source files of the GGUF
// reader.
#pragma once

#include <cstdint>
#include <string_view>

#include "model/file_cursor.hpp"
#include "model/gguf_reader.hpp"

namespace fastplr::gguf {

/// The least number of bytes that a value of this type takes in the file: exact for numbers and booleans, the
/// length field for strings, 0 for arrays and for types that do not exist.
std::uint64_t min_value_bytes(ValueType type);

/// Reads one value of a type for which min_value_bytes() is not 0. \throws ModelError for a boolean that is
/// neither 0 nor 1.
Scalar read_scalar(FileCursor& cursor, ValueType type, std::string_view what);

}  // namespace fastplr::gguf
