// Rotary embeddings (GGML_OP_ROPE) by the kernels, for ggml's CPU backend.
#pragma once

#include "ggml-cpu/traits.h"
#include "ggml.h"

namespace fastplr::kernels {

/// Whether the kernels compute this one: float32, neighbouring values or halves turned by one another,
/// without YaRN and without sections.
bool covers_rope(const ggml_tensor* op);

ggml::cpu::tensor_traits* rope_traits();

}  // namespace fastplr::kernels
