// Attention (GGML_OP_FLASH_ATTN_EXT) by the kernels, for ggml's CPU backend.
#pragma once

#include "ggml-cpu/traits.h"
#include "ggml.h"

namespace fastplr::kernels {

/// Whether the kernels compute this attention: one stream, keys and values in float16 or float32 of sizes
/// that are multiples of 16, no sinks, no cap on scores.
bool covers_attention(const ggml_tensor* op);

ggml::cpu::tensor_traits* attention_traits();

}  // namespace fastplr::kernels
