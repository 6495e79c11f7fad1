#include "graph_plan.hpp"

#include <cstdint>

#include "ggml_attention.hpp"

namespace fastplr::kernels {
namespace {

/// The last parameter of an operation, which ggml leaves 0, says what the kernels make of it.
constexpr int kMarkParameter = GGML_MAX_OP_PARAMS / sizeof(std::int32_t) - 1;

enum class Mark : std::int32_t { none = 0, attention = 0x46504c01 };

Mark mark_of(const ggml_tensor* op) { return static_cast<Mark>(op->op_params[kMarkParameter]); }

void mark(ggml_tensor* op, Mark mark) { op->op_params[kMarkParameter] = static_cast<std::int32_t>(mark); }

}  // namespace

void take_over(ggml_cgraph* graph, int n_nodes) {
    for (int i = 0; i < n_nodes; ++i) {
        ggml_tensor* node = ggml_graph_node(graph, i);
        if (node->op == GGML_OP_FLASH_ATTN_EXT && covers_attention(node)) mark(node, Mark::attention);
    }
}

ggml::cpu::tensor_traits* traits_of_marked(const ggml_tensor* op) {
    switch (op->op) {
        case GGML_OP_FLASH_ATTN_EXT:
            return mark_of(op) == Mark::attention ? attention_traits() : nullptr;
        default:
            return nullptr;
    }
}

}  // namespace fastplr::kernels
