// Norms and activation functions by the kernels, for ggml's CPU backend: what llama.cpp's graphs have as
// chains of operations, computed row by row in the last of them, and where only products of packed weights
// use the result, quantised for these at once.
#pragma once

#include <optional>

#include "ggml-cpu/traits.h"
#include "ggml.h"
#include "variant.hpp"
#include "weight_format.hpp"

namespace fastplr::kernels {

/// What an operation that was taken over computes. It is kept in the operation, whose free sources and
/// parameters hold it, so that ggml keeps the memory of what is read here.
struct RowPlan {
    enum class Function : std::int32_t { rms_norm, layer_norm, silu, gelu };

    Function function = Function::rms_norm;
    ggml_tensor* x = nullptr;
    ggml_tensor* second = nullptr;  ///< added to x, of its shape; or null
    ggml_tensor* bias = nullptr;    ///< added to every row; or null
    ggml_tensor* weight =
        nullptr;  ///< of a norm, a row; of an activation function the other factor, of x's shape
    ggml_tensor* shift = nullptr;  ///< of a norm, a row; or null
    ggml_tensor* sum = nullptr;    ///< where x + bias + second is to be kept, for others; or null
    float eps = 0.0F;
    std::optional<WeightType> quantised;  ///< the weights that the result is for; else it is float32

    /// Whether `op` has nothing where a plan would be kept.
    static bool fits(const ggml_tensor* op);
    void keep_in(ggml_tensor* op) const;
    static RowPlan of(const ggml_tensor* op);
};

ggml::cpu::tensor_traits* row_traits();

}  // namespace fastplr::kernels
