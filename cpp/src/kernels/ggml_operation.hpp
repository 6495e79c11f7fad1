// What the operations that the kernels take over have in common: parameters and work buffers of ggml.
#pragma once

#include <cstdint>
#include <cstring>

#include "ggml-cpu-impl.h"
#include "ggml.h"

namespace fastplr::kernels {

constexpr std::size_t kAlignment = 64;

constexpr std::size_t aligned(std::size_t bytes) {
    return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

/// The first aligned byte of a work buffer; what is asked for has to be kAlignment larger.
inline char* begin_of_work(const ggml_compute_params* params) {
    const auto address = reinterpret_cast<std::uintptr_t>(params->wdata);
    return static_cast<char*>(params->wdata) + (aligned(address) - address);
}

/// A parameter that is a float.
inline float float_parameter(const ggml_tensor* op, int number) {
    float value;
    std::memcpy(&value, op->op_params + number, sizeof value);
    return value;
}

}  // namespace fastplr::kernels
