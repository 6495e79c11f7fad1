#include "graph_plan.hpp"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <unordered_map>
#include <vector>

#include "activation_layout.hpp"
#include "ggml-impl.h"
#include "ggml_attention.hpp"
#include "ggml_join.hpp"
#include "ggml_rope.hpp"
#include "ggml_rows.hpp"

namespace fastplr::kernels {
namespace {

/// This parameter says what the kernels make of an operation: it is 0 in all that are taken over (in rotary
/// embeddings without sections, too).
constexpr int kMark = GGML_MAX_OP_PARAMS / sizeof(std::int32_t) - 2;

enum class Mark : std::int32_t { none = 0, attention = 0x46504c01, rope, rows, quantised_input };

Mark mark_of(const ggml_tensor* op) { return static_cast<Mark>(op->op_params[kMark]); }
void set_mark(ggml_tensor* op, Mark mark) { op->op_params[kMark] = static_cast<std::int32_t>(mark); }

constexpr int kMultipleOf = 16;  // values that the widest vectors hold

bool is_rows(const ggml_tensor* tensor) {
    return tensor->type == GGML_TYPE_F32 && ggml_is_contiguous(tensor) && tensor->ne[0] % kMultipleOf == 0;
}

/// One row for all rows of `tensor`.
bool is_row_of(const ggml_tensor* row, const ggml_tensor* tensor) {
    return is_rows(row) && row->ne[0] == tensor->ne[0] && ggml_nrows(row) == 1;
}

class Planner {
  public:
    Planner(ggml_cgraph* graph, int n_nodes, const std::function<bool(const ggml_tensor*)>& is_read)
        : graph_(graph), n_nodes_(n_nodes), is_read_(is_read) {
        for (int i = 0; i < n_nodes; ++i) {
            ggml_tensor* node = ggml_graph_node(graph, i);
            positions_[node] = i;
            for (ggml_tensor* source : node->src) {
                if (source != nullptr) users_[source].push_back(node);
            }
        }
    }

    void plan() {
        for (int i = 0; i < n_nodes_; ++i) {
            ggml_tensor* node = ggml_graph_node(graph_, i);
            switch (node->op) {
                case GGML_OP_FLASH_ATTN_EXT:
                    if (covers_attention(node)) set_mark(node, Mark::attention);
                    break;
                case GGML_OP_ROPE:
                    if (covers_rope(node)) set_mark(node, Mark::rope);
                    break;
                case GGML_OP_RMS_NORM:
                case GGML_OP_NORM:
                    plan_norm(node);
                    break;
                case GGML_OP_UNARY:
                    plan_unary(node);
                    break;
                case GGML_OP_GLU:
                    plan_gated(node);
                    break;
                default:
                    break;
            }
        }
    }

  private:
    /// The one operation that uses a result which nobody else reads; null where that is not so.
    ggml_tensor* only_user(const ggml_tensor* tensor) const {
        const auto found = users_.find(tensor);
        if (found == users_.end() || found->second.size() != 1 || is_output(tensor)) return nullptr;
        return found->second.front();
    }

    bool is_output(const ggml_tensor* tensor) const {
        return (tensor->flags & GGML_TENSOR_FLAG_OUTPUT) != 0 || is_read_(tensor);
    }

    /// What a function is taken of: sums are added up within it.
    void find_input(const ggml_tensor* function, const ggml_tensor* last, RowPlan& plan) {
        ggml_tensor* tensor = function->src[0];
        while (tensor->op == GGML_OP_ADD && mark_of(tensor) == Mark::none && is_rows(tensor) &&
               !is_output(tensor)) {
            // A sum that others use later on (that of a residual stream) is kept for them.
            const bool kept = only_user(tensor) == nullptr;
            if (kept && (plan.x != nullptr || !used_later(tensor, function, last))) break;
            ggml_tensor *left = tensor->src[0], *right = tensor->src[1];
            if (!is_rows(left) || !ggml_are_same_shape(left, tensor)) break;
            if (plan.bias == nullptr && is_row_of(right, tensor) && !ggml_are_same_shape(right, left)) {
                plan.bias = right;
            } else if (plan.second == nullptr && is_rows(right) && ggml_are_same_shape(left, right)) {
                plan.second = right;
            } else {
                break;
            }
            skipped_.push_back(tensor);
            if (kept) plan.sum = tensor;
            plan.x = tensor = left;
        }
        plan.x = tensor;
    }

    /// Whether all other users of a sum stand behind `last`, which computes it, and so find it computed.
    bool used_later(const ggml_tensor* sum, const ggml_tensor* function, const ggml_tensor* last) const {
        const std::vector<ggml_tensor*>& users = users_.at(sum);
        return std::all_of(users.begin(), users.end(), [&](const ggml_tensor* user) {
            return user == function || positions_.at(user) > positions_.at(last);
        });
    }

    /// The other factor of a product with `tensor`, or the other part of a sum, where it is one row of the
    /// model (in a batch of one token the residual stream is one row too).
    static ggml_tensor* other_row(const ggml_tensor* op, const ggml_tensor* tensor) {
        ggml_tensor* other = op->src[0] == tensor ? op->src[1] : op->src[0];
        return other->op == GGML_OP_NONE && is_row_of(other, tensor) ? other : nullptr;
    }

    void plan_norm(ggml_tensor* node) {
        if (!is_rows(node) || !is_rows(node->src[0])) return;
        skipped_.clear();
        RowPlan plan;
        plan.function =
            node->op == GGML_OP_NORM ? RowPlan::Function::layer_norm : RowPlan::Function::rms_norm;
        std::memcpy(&plan.eps, node->op_params, sizeof plan.eps);
        ggml_tensor* last = node;
        ggml_tensor* user = only_user(last);
        if (user != nullptr && user->op == GGML_OP_MUL && ggml_are_same_shape(user, last)) {
            plan.weight = other_row(user, last);
            if (plan.weight != nullptr) advance(last, user);
        }
        if (user != nullptr && user->op == GGML_OP_ADD && ggml_are_same_shape(user, last)) {
            plan.shift = other_row(user, last);
            if (plan.shift != nullptr) advance(last, user);
        }
        if (last == node) return;  // a norm alone: ggml's may not use the sources of others
        find_input(node, last, plan);
        finish(last, plan);
    }

    void advance(ggml_tensor*& last, ggml_tensor*& user) {
        skipped_.push_back(last);
        last = user;
        user = only_user(last);
    }

    void plan_unary(ggml_tensor* node) {
        const ggml_unary_op function = ggml_get_unary_op(node);
        if (function != GGML_UNARY_OP_GELU && function != GGML_UNARY_OP_SILU) return;
        if (!is_rows(node) || !is_rows(node->src[0])) return;
        skipped_.clear();
        RowPlan plan;
        plan.function = function == GGML_UNARY_OP_GELU ? RowPlan::Function::gelu : RowPlan::Function::silu;
        find_input(node, node, plan);
        finish(node, plan);
    }

    void plan_gated(ggml_tensor* node) {
        const ggml_glu_op function = ggml_get_glu_op(node);
        if (function != GGML_GLU_OP_GEGLU && function != GGML_GLU_OP_SWIGLU) return;
        if (node->src[1] == nullptr || !is_rows(node) || !is_rows(node->src[0]) || !is_rows(node->src[1]))
            return;
        skipped_.clear();
        RowPlan plan;
        plan.function = function == GGML_GLU_OP_GEGLU ? RowPlan::Function::gelu : RowPlan::Function::silu;
        plan.x = node->src[0];
        plan.weight = node->src[1];
        finish(node, plan);
    }

    void finish(ggml_tensor* op, RowPlan& plan) {
        for (ggml_tensor* inner : skipped_) inner->flags &= ~GGML_TENSOR_FLAG_COMPUTE;
        quantise_for_users(op, plan);
        plan.keep_in(op);
        set_mark(op, Mark::rows);
    }

    void quantise_for_users(ggml_tensor* op, RowPlan& plan) {
        const auto found = users_.find(op);
        if (found == users_.end() || is_output(op) || op->ne[0] % kUnit != 0) return;
        const std::vector<ggml_tensor*>& users = found->second;
        const ggml_type type = users.front()->src[0]->type;
        const bool all = std::all_of(users.begin(), users.end(), [&](const ggml_tensor* user) {
            return user->op == GGML_OP_MUL_MAT && user->src[1] == op && user->src[0]->type == type &&
                   computes(user->src[0]);
        });
        if (!all) return;
        const WeightFormat& format = *format_of_ggml(type);
        if (ActivationLayout(format, ggml_nrows(op), op->ne[0]).size() > ggml_nbytes(op)) return;
        plan.quantised = format.type;
        for (ggml_tensor* user : users) set_mark(user, Mark::quantised_input);
        // Rows of the result are no longer where rows of the input are: ggml must not put it into the input's
        // memory, as it would where nobody needs the input any more.
        ggml_tensor* first = users.front();
        first->src[2] = plan.x;
        first->src[3] = plan.second;
        first->src[4] = plan.function == RowPlan::Function::silu || plan.function == RowPlan::Function::gelu
                            ? plan.weight
                            : nullptr;
    }

    ggml_cgraph* graph_;
    int n_nodes_;
    const std::function<bool(const ggml_tensor*)>& is_read_;
    std::unordered_map<const ggml_tensor*, std::vector<ggml_tensor*>> users_;
    std::unordered_map<const ggml_tensor*, int> positions_;
    std::vector<ggml_tensor*> skipped_;  ///< by the operation that is planned
};

}  // namespace

void take_over(ggml_cgraph* graph, int n_nodes, const std::function<bool(const ggml_tensor*)>& is_read) {
    Planner(graph, n_nodes, is_read).plan();
}

ggml::cpu::tensor_traits* traits_of_marked(const ggml_tensor* op) {
    switch (op->op) {
        case GGML_OP_FLASH_ATTN_EXT:
            return mark_of(op) == Mark::attention ? attention_traits() : nullptr;
        case GGML_OP_ROPE:
            return mark_of(op) == Mark::rope ? rope_traits() : nullptr;
        case GGML_OP_ADD:
        case GGML_OP_MUL:
        case GGML_OP_UNARY:
        case GGML_OP_GLU:
            return mark_of(op) == Mark::rows ? row_traits() : nullptr;
        default:
            return nullptr;
    }
}

bool has_quantised_input(const ggml_tensor* product) { return mark_of(product) == Mark::quantised_input; }

}  // namespace fastplr::kernels
