// From rows of a GGUF file to panels.
#pragma once

#include "weight_format.hpp"

namespace fastplr::kernels {

/// Bytes of all panels of a matrix; the last panel is filled up with outputs that are zero.
std::size_t packed_bytes(const WeightFormat& format, std::int64_t n_outputs, std::int64_t n_inputs);

/// Packs the rows of a matrix as they lie in a file, [n_outputs][n_inputs / n_block] blocks, at any
/// alignment. Only moves bits: what the file means stays as it is. `n_inputs` is divisible by
/// `format.n_block`.
void pack(const WeightFormat& format, const std::uint8_t* rows, std::int64_t n_outputs, std::int64_t n_inputs,
          std::uint8_t* panels);

/// A row of the packed matrix in float32, from the definition of the type.
void unpack_row(const WeightFormat& format, const std::uint8_t* panels, std::int64_t output,
                std::int64_t n_inputs, float* row);

}  // namespace fastplr::kernels
