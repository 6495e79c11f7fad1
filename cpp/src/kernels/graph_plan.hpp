// Which operations of llama.cpp's graphs the kernels take over, beyond the products of packed weights.
#pragma once

#include "ggml-cpu/traits.h"
#include "ggml.h"

namespace fastplr::kernels {

/// Marks in a graph that is computed on the CPU alone, before it is planned, what the kernels compute.
/// \param n_nodes nodes of it that are computed, from the first on.
void take_over(ggml_cgraph* graph, int n_nodes);

/// Null for an operation that is not marked.
ggml::cpu::tensor_traits* traits_of_marked(const ggml_tensor* op);

}  // namespace fastplr::kernels
