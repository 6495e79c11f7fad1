#include "graph_plan.hpp"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <unordered_map>
#include <unordered_set>
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

/// What is read row by row. Strides of dimensions of 1 count too: a graph of one token must look like others.
bool is_rows(const ggml_tensor* tensor) {
    if (tensor->type != GGML_TYPE_F32 || tensor->nb[0] != sizeof(float) || tensor->ne[0] % kMultipleOf != 0)
        return false;
    for (int i = 1; i < GGML_MAX_DIMS; ++i) {
        if (tensor->nb[i] != tensor->nb[i - 1] * static_cast<std::size_t>(tensor->ne[i - 1])) return false;
    }
    return true;
}

/// Whether a tensor is the model's own, or a part of one, and not computed.
bool is_of_model(const ggml_tensor* tensor) {
    const ggml_tensor* whole = tensor->view_src == nullptr ? tensor : tensor->view_src;
    return whole->op == GGML_OP_NONE && (whole->flags & GGML_TENSOR_FLAG_INPUT) == 0;
}

/// One row for all rows of `tensor`.
bool is_row_of(const ggml_tensor* row, const ggml_tensor* tensor) {
    return is_rows(row) && row->ne[0] == tensor->ne[0] && ggml_nrows(row) == 1;
}

/// An operation that computes what stands before it as well.
struct Planned {
    ggml_tensor* op;
    RowPlan plan;
    std::vector<ggml_tensor*> skipped;  ///< operations within it
    std::vector<ggml_tensor*> sums;     ///< those that its function is taken of, the outermost first
    std::vector<ggml_tensor*> users;    ///< products for which the result may be quantised
};

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

    void plan(PlanMemory& memory) {
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
        if (!memory.allows(n_nodes_, signature())) return;
        for (Planned& planned : planned_) apply(planned);
    }

  private:
    // What is read from outside changes from one call to the next, while ggml keeps the memory that it
    // planned as long as graphs have as many nodes, and no larger ones (see PlanMemory). So it decides what
    // is computed, and what is quantised, but never which tensors are sources of which.

    /// An operation with a result of its own, not in the memory of what it is computed from, that was not
    /// taken over yet.
    bool is_free(const ggml_tensor* op) const {
        return is_rows(op) && op->view_src == nullptr && taken_.count(op) == 0;
    }

    /// The one operation that uses a result; null where there are none or several.
    ggml_tensor* only_user(const ggml_tensor* tensor) const {
        const auto found = users_.find(tensor);
        if (found == users_.end() || found->second.size() != 1) return nullptr;
        return (tensor->flags & GGML_TENSOR_FLAG_OUTPUT) != 0 ? nullptr : found->second.front();
    }

    /// What a function is taken of: sums are added up within it.
    void find_input(const ggml_tensor* function, const ggml_tensor* last, RowPlan& plan) {
        ggml_tensor* tensor = function->src[0];
        while (tensor->op == GGML_OP_ADD && is_free(tensor) &&
               (tensor->flags & GGML_TENSOR_FLAG_OUTPUT) == 0) {
            // A sum that others use later on (that of a residual stream) is kept for them.
            const bool kept = only_user(tensor) == nullptr;
            if (kept && (plan.x != nullptr || !used_later(tensor, function, last))) break;
            ggml_tensor *left = tensor->src[0], *right = tensor->src[1];
            if (!is_rows(left) || !ggml_are_same_shape(left, tensor)) break;
            if (plan.bias == nullptr && is_of_model(right) && is_row_of(right, tensor)) {
                plan.bias = right;
            } else if (plan.second == nullptr && !is_of_model(right) && is_rows(right) &&
                       ggml_are_same_shape(left, right)) {
                plan.second = right;
            } else {
                break;
            }
            sums_.push_back(tensor);
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
        return is_of_model(other) && is_row_of(other, tensor) ? other : nullptr;
    }

    void plan_norm(ggml_tensor* node) {
        if (!is_free(node) || !is_rows(node->src[0])) return;
        skipped_.clear();
        sums_.clear();
        RowPlan plan;
        plan.function =
            node->op == GGML_OP_NORM ? RowPlan::Function::layer_norm : RowPlan::Function::rms_norm;
        std::memcpy(&plan.eps, node->op_params, sizeof plan.eps);
        ggml_tensor* last = node;
        ggml_tensor* user = only_user(last);
        if (user != nullptr && user->op == GGML_OP_MUL && is_free(user) && ggml_are_same_shape(user, last)) {
            plan.weight = other_row(user, last);
            if (plan.weight != nullptr) advance(last, user);
        }
        if (user != nullptr && user->op == GGML_OP_ADD && is_free(user) && ggml_are_same_shape(user, last)) {
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
        if (!is_free(node) || !is_rows(node->src[0])) return;
        skipped_.clear();
        sums_.clear();
        RowPlan plan;
        plan.function = function == GGML_UNARY_OP_GELU ? RowPlan::Function::gelu : RowPlan::Function::silu;
        find_input(node, node, plan);
        finish(node, plan);
    }

    void plan_gated(ggml_tensor* node) {
        const ggml_glu_op function = ggml_get_glu_op(node);
        if (function != GGML_GLU_OP_GEGLU && function != GGML_GLU_OP_SWIGLU) return;
        if (node->src[1] == nullptr || !is_free(node) || !is_rows(node->src[0]) || !is_rows(node->src[1]))
            return;
        skipped_.clear();
        sums_.clear();
        RowPlan plan;
        plan.function = function == GGML_GLU_OP_GEGLU ? RowPlan::Function::gelu : RowPlan::Function::silu;
        plan.x = node->src[0];
        plan.weight = node->src[1];
        finish(node, plan);
    }

    void finish(ggml_tensor* op, const RowPlan& plan) {
        if (!RowPlan::fits(op) || std::any_of(skipped_.begin(), skipped_.end(), is_read_)) return;
        planned_.push_back({op, plan, skipped_, sums_, quantising_users(op)});
        taken_.insert(op);
        taken_.insert(skipped_.begin(), skipped_.end());
        taken_.insert(sums_.begin(), sums_.end());
    }

    /// The products that could share the result quantised; empty where something else needs it too.
    std::vector<ggml_tensor*> quantising_users(const ggml_tensor* op) const {
        const auto found = users_.find(op);
        if (found == users_.end() || (op->flags & GGML_TENSOR_FLAG_OUTPUT) != 0 || op->ne[0] % kUnit != 0)
            return {};
        const WeightFormat* format = format_of_ggml(found->second.front()->src[0]->type);
        const bool all =
            std::all_of(found->second.begin(), found->second.end(), [&](const ggml_tensor* user) {
                return user->op == GGML_OP_MUL_MAT && user->src[1] == op && computes(user->src[0]) &&
                       format_of_ggml(user->src[0]->type) == format;
            });
        return all ? found->second : std::vector<ggml_tensor*>();
    }

    void apply(Planned& planned) {
        for (ggml_tensor* inner : planned.skipped) inner->flags &= ~GGML_TENSOR_FLAG_COMPUTE;
        // A sum that is read is computed by itself, and with it the sums within it.
        const auto read = std::find_if(planned.sums.begin(), planned.sums.end(), is_read_);
        for (auto sum = planned.sums.begin(); sum != read; ++sum) (*sum)->flags &= ~GGML_TENSOR_FLAG_COMPUTE;
        if (!planned.users.empty()) quantise(planned);
        planned.plan.keep_in(planned.op);
        set_mark(planned.op, Mark::rows);
    }

    void quantise(Planned& planned) {
        RowPlan& plan = planned.plan;
        // Rows of the result are no longer where rows of the input are: ggml must not put it into the input's
        // memory, as it would where nobody needs the input any more.
        ggml_tensor* first = planned.users.front();
        first->src[2] = plan.x;
        first->src[3] = plan.second;
        const bool norm =
            plan.function == RowPlan::Function::rms_norm || plan.function == RowPlan::Function::layer_norm;
        first->src[4] = norm ? nullptr : plan.weight;
        const WeightFormat& format = *format_of_ggml(first->src[0]->type);
        const std::size_t n_bytes =
            ActivationLayout(format, ggml_nrows(planned.op), planned.op->ne[0]).size();
        if (is_read_(planned.op) || n_bytes > ggml_nbytes(planned.op)) return;
        plan.quantised = format.type;
        for (ggml_tensor* user : planned.users) set_mark(user, Mark::quantised_input);
    }

    /// Of which tensor is needed by which operation besides those that ggml knows of.
    std::uint64_t signature() const {
        std::uint64_t hash = 14695981039346656037U;  // FNV-1a
        const auto add = [&](const ggml_tensor* tensor) {
            const auto found = positions_.find(tensor);
            hash ^= static_cast<std::uint64_t>(found == positions_.end() ? -1 : found->second);
            hash *= 1099511628211U;
        };
        for (const Planned& planned : planned_) {
            const RowPlan& plan = planned.plan;
            for (const ggml_tensor* tensor : {planned.op, plan.x, plan.second, plan.sum, plan.weight})
                add(tensor);
            add(planned.users.empty() ? nullptr : planned.users.front());
        }
        return hash;
    }

    ggml_cgraph* graph_;
    int n_nodes_;
    const std::function<bool(const ggml_tensor*)>& is_read_;
    std::unordered_map<const ggml_tensor*, std::vector<ggml_tensor*>> users_;
    std::unordered_map<const ggml_tensor*, int> positions_;
    std::vector<Planned> planned_;
    std::unordered_set<const ggml_tensor*> taken_;  ///< by planned ones
    std::vector<ggml_tensor*> skipped_, sums_;      ///< as Planned's, of the one that is planned
};

}  // namespace

void take_over(ggml_cgraph* graph, int n_nodes, const std::function<bool(const ggml_tensor*)>& is_read,
               PlanMemory& memory) {
    Planner(graph, n_nodes, is_read).plan(memory);
}

bool PlanMemory::allows(int n_nodes, std::uint64_t signature) {
    constexpr std::uint64_t kNone = 0;
    std::uint64_t& known = signatures_.try_emplace(n_nodes, signature).first->second;
    if (known != signature) known = kNone;
    return known != kNone;
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
