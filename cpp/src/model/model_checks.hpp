// Does a GGUF file that is sound in structure describe a model that llama.cpp can load and run?
//
// llama.cpp reports part of what can be wrong, and aborts the process (GGML_ASSERT), divides by zero or reads
// out of bounds on the rest. These checks cover the latter as it is in the pinned version:
// src/llama-model.cpp (load_hparams), src/llama-vocab.cpp (load), src/models/*.cpp (graph builders),
// ggml/src/ggml-cpu (operators), and say more about the former.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "model/gguf_reader.hpp"

namespace fastplr {

/// All checks below. \throws ModelError naming the path, the value found and what was expected;
/// UnsupportedArchitecture for files of other kinds of network (image projectors, speech decoders, draft
/// heads).
void check_model(const gguf::File& file);

/// The string at 'general.architecture'. \throws ModelError if it is missing or empty.
std::string require_architecture(const gguf::File& file);

/// Counts, widths, head shapes, epsilons: everything under '<architecture>.'.
void check_hyperparameters(const gguf::File& file, const std::string& architecture);

/// Tokens, scores, token types, merges, special tokens. Returns the number of tokens.
std::uint64_t check_vocabulary(const gguf::File& file);

/// The block number of "blk.17.attn_q.weight" where the prefix is "blk."; -1 for tensors outside of blocks.
std::int64_t block_of(std::string_view tensor_name, std::string_view prefix);

/// Token embedding, blocks, tensor types that the CPU can compute with, alignment of the data.
void check_tensors(const gguf::File& file, const std::string& architecture, std::uint64_t n_vocab);

}  // namespace fastplr
