// Norms and activation functions of a row. As tile.hpp: included by one source file for each instruction set.
#pragma once

#include "vector_math.hpp"

namespace fastplr::kernels {
namespace {

template <typename V>
typename V::Floats load_sum(const RowInput& in, int i) {
    typename V::Floats value = V::load(in.x + i);
    if (in.bias != nullptr) value = value + V::load(in.bias + i);
    if (in.second != nullptr) value = value + V::load(in.second + i);
    return value;
}

template <typename V>
void turn(const float* x, const float* cosines, const float* sines, int n, bool halves, float* out) {
    const int half = n / 2;
    if (halves) {
        for (int i = 0; i < half; i += V::kWidth) {
            const auto low = V::load(x + i), high = V::load(x + half + i);
            const auto c = V::load(cosines + i), s = V::load(sines + i);
            V::store(low * c - high * s, out + i);
            V::store(low * s + high * c, out + half + i);
        }
    } else if constexpr (V::kWidth == 1) {
        for (int i = 0; i < n; i += 2) {
            const float even = x[i], odd = x[i + 1];
            out[i] = even * cosines[i] + odd * sines[i];
            out[i + 1] = odd * cosines[i + 1] + even * sines[i + 1];
        }
    } else {
        for (int i = 0; i < n; i += V::kWidth) {
            const auto value = V::load(x + i);
            V::store(value * V::load(cosines + i) + V::swap_neighbours(value) * V::load(sines + i), out + i);
        }
    }
}

template <typename V>
void add(const RowInput& in, int n, float* out) {
    for (int i = 0; i < n; i += V::kWidth) V::store(load_sum<V>(in, i), out + i);
}

template <typename V>
void norm(const NormParameters& by, const RowInput& in, int n, float* out) {
    using Floats = typename V::Floats;
    constexpr int kSums = 4;  // side by side: a sum waits for itself
    Floats sums[kSums], squares[kSums];
    for (int s = 0; s < kSums; ++s) sums[s] = squares[s] = V::zero();
    int at = 0;
    for (int i = 0; i < n; i += V::kWidth, at = (at + 1) % kSums) {
        const Floats value = load_sum<V>(in, i);
        V::store(value, out + i);
        if (by.centred) {
            sums[at] = sums[at] + value;
        } else {
            squares[at] = V::fma(value, value, squares[at]);
        }
    }
    const auto whole = [](const Floats(&parts)[kSums]) {
        return V::total((parts[0] + parts[1]) + (parts[2] + parts[3]));
    };
    const auto count = static_cast<float>(n);
    const float mean = by.centred ? whole(sums) / count : 0.0F;
    const Floats means = V::set(mean);
    if (by.centred) {
        for (int i = 0; i < n; i += V::kWidth, at = (at + 1) % kSums) {
            const Floats value = V::load(out + i) - means;
            squares[at] = V::fma(value, value, squares[at]);
        }
    }
    const Floats factor = V::set(1.0F / __builtin_sqrtf(whole(squares) / count + by.eps));
    for (int i = 0; i < n; i += V::kWidth) {
        Floats value = (V::load(out + i) - means) * factor;
        if (by.weight != nullptr) value = value * V::load(by.weight + i);
        if (by.shift != nullptr) value = value + V::load(by.shift + i);
        V::store(value, out + i);
    }
}

/// x / (1 + e^-z), and 0 far below: x times the logistic function of z.
template <typename V>
typename V::Floats times_logistic(typename V::Floats x, typename V::Floats z) {
    const auto least = V::set(kLeastExponent);
    const auto power = exp<V>(V::zero() - V::max(z, least));
    return V::zero_where_below(z, least, x / (V::set(1.0F) + power));
}

template <typename V, ActivationKind kKind>
void activate_row(const RowInput& in, const float* factor, int n, float* out) {
    using Floats = typename V::Floats;
    for (int i = 0; i < n; i += V::kWidth) {
        const Floats x = load_sum<V>(in, i);
        Floats z = x;
        if (kKind == ActivationKind::gelu) {
            // 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))), by 1 + tanh(u) = 2 / (1 + e^-2u)
            const Floats cube = V::fma(x * x, V::set(0.044715F), V::set(1.0F));
            z = x * cube * V::set(1.5957691216057308F);
        }
        Floats value = times_logistic<V>(x, z);
        if (factor != nullptr) value = value * V::load(factor + i);
        V::store(value, out + i);
    }
}

template <typename V>
void activate(ActivationKind kind, const RowInput& in, const float* factor, int n, float* out) {
    if (kind == ActivationKind::silu) {
        activate_row<V, ActivationKind::silu>(in, factor, n, out);
    } else {
        activate_row<V, ActivationKind::gelu>(in, factor, n, out);
    }
}

}  // namespace
}  // namespace fastplr::kernels
