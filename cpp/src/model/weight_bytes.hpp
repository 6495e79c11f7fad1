// What loading a model takes, from its file's head alone.
#pragma once

#include <cstdint>

#include "fastplr/model_info.hpp"
#include "model/gguf_reader.hpp"

namespace fastplr {

/// read_model_info() of a file that is open already.
ModelInfo model_info_of(const gguf::File& file);

/// Bytes of the tensors that a model of the first `n_blocks` blocks is made of: all but those of other
/// blocks, of the decoder of a T5, and of the output matrix, which Model::load() leaves out. Tensors that
/// llama.cpp has no use for count too.
/// \param floats_in_8_bits as ModelOptions'.
std::uint64_t weight_bytes(const gguf::File& file, const ModelInfo& info, std::uint64_t n_blocks,
                           bool floats_in_8_bits = false);

}  // namespace fastplr
