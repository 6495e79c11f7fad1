// Half floats (IEEE 754 binary16), in integer operations that compilers turn into vectors.
#pragma once

#include <cstdint>
#include <cstring>

namespace fastplr::kernels {

// Files that are compiled for other instruction sets include this: nothing here may be merged by the linker.
namespace {

inline float half_to_float(std::uint16_t half) {
    const std::uint32_t sign = static_cast<std::uint32_t>(half & 0x8000) << 16;
    const std::uint32_t rest = static_cast<std::uint32_t>(half & 0x7fff) << 13;  // exponent too small by 112
    float value;
    if (rest >= (31U << 23)) {
        const std::uint32_t bits = rest + (224U << 23);  // infinity and NaN
        std::memcpy(&value, &bits, sizeof value);
    } else {
        std::memcpy(&value, &rest, sizeof value);
        value *= 0x1p112F;  // denormal numbers come out right too
    }
    std::uint32_t bits;
    std::memcpy(&bits, &value, sizeof bits);
    bits |= sign;
    std::memcpy(&value, &bits, sizeof value);
    return value;
}

}  // namespace

}  // namespace fastplr::kernels
