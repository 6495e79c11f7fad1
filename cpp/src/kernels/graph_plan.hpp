// Which operations of llama.cpp's graphs the kernels take over, beyond the products of packed weights.
#pragma once

#include <functional>

#include "ggml-cpu/traits.h"
#include "ggml.h"

namespace fastplr::kernels {

/// Marks in a graph that is computed on the CPU alone, before its memory is planned, what the kernels
/// compute: attention; norms with their weights and what is added before; activation functions.
/// \param n_nodes nodes of it that are computed, from the first on.
/// \param is_read whether somebody else reads this tensor when it was computed.
void take_over(ggml_cgraph* graph, int n_nodes, const std::function<bool(const ggml_tensor*)>& is_read);

/// Null for an operation that is not marked.
ggml::cpu::tensor_traits* traits_of_marked(const ggml_tensor* op);

/// Whether the input of this product was quantised for it by the operation that computed it.
bool has_quantised_input(const ggml_tensor* product);

}  // namespace fastplr::kernels
