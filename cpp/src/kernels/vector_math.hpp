// Functions over the vectors of an instruction set. As tile.hpp: included by one source file for each.
//
// A vector type V has for these: Floats, with + - * of the language; kWidth; set(), load(), store(), zero(),
// fma(a, b, c) = a * b + c, max(a, b), which is b where b is NaN, and
// what is said at its use.
#pragma once

#include "tile.hpp"

namespace fastplr::kernels {
namespace {

/// Below, e^x is 0 here.
constexpr float kLeastExponent = -87.0F;

/// e^x for x <= 88, to about one unit in the last place; 0 below kLeastExponent, NaN for NaN. The polynomial
/// is that of the Cephes library (expf.c).
template <typename V>
typename V::Floats exp(typename V::Floats x) {
    using Floats = typename V::Floats;
    const Floats clamped = V::max(x, V::set(kLeastExponent));
    // e^x = 2^n * e^rest, |rest| <= ln(2) / 2; n stands in the last bits of `power`
    const Floats power = V::fma(clamped, V::set(1.44269504088896341F), V::set(kMagic));
    const Floats n = power - V::set(kMagic);
    Floats rest = V::fma(n, V::set(-0.693359375F), clamped);
    rest = V::fma(n, V::set(2.12194440e-4F), rest);
    Floats sum = V::set(1.9875691500e-4F);
    sum = V::fma(sum, rest, V::set(1.3981999507e-3F));
    sum = V::fma(sum, rest, V::set(8.3334519073e-3F));
    sum = V::fma(sum, rest, V::set(4.1665795894e-2F));
    sum = V::fma(sum, rest, V::set(1.6666665459e-1F));
    sum = V::fma(sum, rest, V::set(5.0000001201e-1F));
    sum = V::fma(sum, rest * rest, rest + V::set(1.0F));
    const Floats found = V::zero_where_below(x, V::set(kLeastExponent), V::times_power_of_two(sum, power));
    return V::max(found, x);  // e^x > x; the maximum with NaN as the second argument is NaN
}

/// kWidth vectors as rows of a square, to its columns: each round puts a row of the first half and one of the
/// second half together, value by value, which turns the bits of (row, column) by one.
template <typename V>
void transpose(typename V::Floats (&rows)[V::kWidth]) {
    for (int round = 1; round < V::kWidth; round *= 2) {
        typename V::Floats next[V::kWidth];
        for (int i = 0; i < V::kWidth / 2; ++i) {
            next[2 * i] = V::interleave_low(rows[i], rows[i + V::kWidth / 2]);
            next[2 * i + 1] = V::interleave_high(rows[i], rows[i + V::kWidth / 2]);
        }
        for (int i = 0; i < V::kWidth; ++i) rows[i] = next[i];
    }
}

/// out[r][...] = (kAdd: out +) sum over k of left[r][k] * right[k][...], for kRows rows and kColumns vectors.
template <typename V, int kRows, int kColumns, bool kAdd>
void multiply_floats_tile(const float* const* left, int n_inner, const float* right, int right_stride,
                          float* out, int out_stride) {
    typename V::Floats sums[kRows][kColumns];
    for (int r = 0; r < kRows; ++r) {
        for (int c = 0; c < kColumns; ++c) {
            sums[r][c] = kAdd ? V::load(out + r * out_stride + c * V::kWidth) : V::zero();
        }
    }
    const float* rows[kRows];
    for (int r = 0; r < kRows; ++r) rows[r] = left[r];
    for (int k = 0; k < n_inner; ++k) {
        typename V::Floats values[kColumns];
        for (int c = 0; c < kColumns; ++c) values[c] = V::load(right + k * right_stride + c * V::kWidth);
        for (int r = 0; r < kRows; ++r) {
            const auto factor = V::set(rows[r][k]);
            for (int c = 0; c < kColumns; ++c) sums[r][c] = V::fma(factor, values[c], sums[r][c]);
        }
    }
    for (int r = 0; r < kRows; ++r) {
        for (int c = 0; c < kColumns; ++c) V::store(sums[r][c], out + r * out_stride + c * V::kWidth);
    }
}

/// The same for V::kFloatRows rows and any number of vectors.
template <typename V, bool kAdd>
void multiply_floats(const float* const* left, int n_inner, const float* right, int right_stride,
                     int n_columns, float* out, int out_stride) {
    static_assert(V::kFloatColumns <= 4);
    for (int c = 0; c < n_columns; c += V::kFloatColumns) {
        const int count = n_columns - c < V::kFloatColumns ? n_columns - c : V::kFloatColumns;
        const float* from = right + c * V::kWidth;
        float* to = out + c * V::kWidth;
        if (count == 1) {
            multiply_floats_tile<V, V::kFloatRows, 1, kAdd>(left, n_inner, from, right_stride, to,
                                                            out_stride);
        } else if (count == 2) {
            multiply_floats_tile<V, V::kFloatRows, 2, kAdd>(left, n_inner, from, right_stride, to,
                                                            out_stride);
        } else if (count == 3) {
            multiply_floats_tile<V, V::kFloatRows, 3, kAdd>(left, n_inner, from, right_stride, to,
                                                            out_stride);
        } else {
            multiply_floats_tile<V, V::kFloatRows, 4, kAdd>(left, n_inner, from, right_stride, to,
                                                            out_stride);
        }
    }
}

}  // namespace
}  // namespace fastplr::kernels
