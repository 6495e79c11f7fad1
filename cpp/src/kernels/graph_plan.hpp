// Which operations of llama.cpp's graphs the kernels take over, beyond the products of packed weights.
#pragma once

#include <cstdint>
#include <functional>
#include <map>

#include "ggml-cpu/traits.h"
#include "ggml.h"

namespace fastplr::kernels {

/// What was planned for the graphs of a context. ggml takes the memory that it planned for one graph for all
/// later ones with as many nodes, none of them larger, whoever needs what for how long: plans that keep other
/// tensors alive must not share it. Where they differ, nothing but attention and rotary embeddings is taken
/// over from then on, which fits any plan.
class PlanMemory {
  public:
    /// Whether a plan of this signature may be carried out in a graph of so many nodes.
    bool allows(int n_nodes, std::uint64_t signature);

  private:
    std::map<int, std::uint64_t> signatures_;
};

/// Marks in a graph that is computed on the CPU alone, before its memory is planned, what the kernels
/// compute: attention; norms with their weights and what is added before; activation functions.
/// \param n_nodes nodes of it that are computed, from the first on.
/// \param is_read whether somebody else reads this tensor when it was computed.
/// \param memory that of the context whose graph it is.
void take_over(ggml_cgraph* graph, int n_nodes, const std::function<bool(const ggml_tensor*)>& is_read,
               PlanMemory& memory);

/// Null for an operation that is not marked.
ggml::cpu::tensor_traits* traits_of_marked(const ggml_tensor* op);

/// Whether the input of this product was quantised for it by the operation that computed it.
bool has_quantised_input(const ggml_tensor* product);

}  // namespace fastplr::kernels
