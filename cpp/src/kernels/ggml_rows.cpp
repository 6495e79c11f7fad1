#include "ggml_rows.hpp"

#include <cstring>

#include "activation_layout.hpp"
#include "ggml_join.hpp"
#include "ggml_operation.hpp"

namespace fastplr::kernels {
namespace {

// Parameters of the operation, before the mark (graph_plan.cpp); ggml uses the first ones.
constexpr int kFunction = 13, kQuantised = 12, kEps = 11;
// Its sources; the operation's own are the first two.
constexpr int kX = 2, kSecond = 3, kBias = 4, kWeight = 5, kShift = 6, kSum = 7;

const float* row_of(const ggml_tensor* tensor, std::int64_t row) {
    if (tensor == nullptr) return nullptr;
    return static_cast<const float*>(tensor->data) + row * tensor->ne[0];
}

class RowOperation : public ggml::cpu::tensor_traits {
  public:
    bool work_size(int n_threads, const ggml_tensor* op, std::size_t& size) override {
        size = row_bytes(op) * static_cast<std::size_t>(n_threads) + kAlignment;
        return true;
    }

    bool compute_forward(ggml_compute_params* params, ggml_tensor* op) override {
        const RowPlan plan = RowPlan::of(op);
        const Variant& variant = *chosen_variant();
        const std::int64_t n = op->ne[0], n_rows = ggml_nrows(op);
        const WeightFormat* format = plan.quantised ? &format_of(*plan.quantised) : nullptr;
        const ActivationLayout layout(format == nullptr ? format_of(WeightType::q8_0) : *format, n_rows, n);
        auto* own = reinterpret_cast<float*>(begin_of_work(params) +
                                             row_bytes(op) * static_cast<std::size_t>(params->ith));
        // Neighbouring rows, so that threads do not write to the same lines of memory.
        const std::int64_t per_thread = (n_rows + params->nth - 1) / params->nth;
        const std::int64_t first = per_thread * params->ith;
        for (std::int64_t row = first; row < first + per_thread && row < n_rows; ++row) {
            float* out = format != nullptr ? own : static_cast<float*>(op->data) + row * n;
            compute_row(variant, plan, row, static_cast<int>(n), out);
            if (format != nullptr) variant.quantise(*format, out, n, layout.from_row(op->data, row));
        }
        return true;
    }

  private:
    static std::size_t row_bytes(const ggml_tensor* op) {
        return aligned(static_cast<std::size_t>(op->ne[0]) * sizeof(float));
    }

    static void compute_row(const Variant& variant, const RowPlan& plan, std::int64_t row, int n,
                            float* out) {
        RowInput in = {row_of(plan.x, row), row_of(plan.second, row), row_of(plan.bias, 0)};
        if (plan.sum != nullptr) {
            float* sum = static_cast<float*>(plan.sum->data) + row * n;
            variant.add(in, n, sum);
            in = {sum, nullptr, nullptr};
        }
        switch (plan.function) {
            case RowPlan::Function::rms_norm:
            case RowPlan::Function::layer_norm:
                variant.norm({plan.function == RowPlan::Function::layer_norm, plan.eps,
                              row_of(plan.weight, 0), row_of(plan.shift, 0)},
                             in, n, out);
                break;
            case RowPlan::Function::silu:
                variant.activate(ActivationKind::silu, in, row_of(plan.weight, row), n, out);
                break;
            default:
                variant.activate(ActivationKind::gelu, in, row_of(plan.weight, row), n, out);
                break;
        }
    }
};

}  // namespace

bool RowPlan::fits(const ggml_tensor* op) {
    for (const int parameter : {kFunction, kQuantised, kEps}) {
        if (op->op_params[parameter] != 0) return false;
    }
    for (const int source : {kX, kSecond, kBias, kWeight, kShift, kSum}) {
        if (op->src[source] != nullptr) return false;
    }
    return true;
}

void RowPlan::keep_in(ggml_tensor* op) const {
    op->op_params[kFunction] = static_cast<std::int32_t>(function);
    op->op_params[kQuantised] = quantised ? static_cast<std::int32_t>(*quantised) + 1 : 0;
    std::memcpy(op->op_params + kEps, &eps, sizeof eps);
    // What is named twice would seem to be needed twice, and not be overwritten in place.
    op->src[kX] = x == op->src[0] ? nullptr : x;
    op->src[kSecond] = second;
    op->src[kBias] = bias;
    op->src[kWeight] = weight;
    op->src[kShift] = shift;
    op->src[kSum] = sum;
}

RowPlan RowPlan::of(const ggml_tensor* op) {
    RowPlan plan;
    plan.function = static_cast<Function>(op->op_params[kFunction]);
    if (op->op_params[kQuantised] != 0)
        plan.quantised = static_cast<WeightType>(op->op_params[kQuantised] - 1);
    plan.eps = float_parameter(op, kEps);
    plan.x = op->src[kX] == nullptr ? op->src[0] : op->src[kX];
    plan.second = op->src[kSecond];
    plan.bias = op->src[kBias];
    plan.weight = op->src[kWeight];
    plan.shift = op->src[kShift];
    plan.sum = op->src[kSum];
    return plan;
}

ggml::cpu::tensor_traits* row_traits() {
    static RowOperation operation;
    return &operation;
}

}  // namespace fastplr::kernels
