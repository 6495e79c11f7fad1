// What AVX2 and AVX-VNNI share: vectors of 8 outputs. Included by one file for each.
#pragma once

#include <immintrin.h>

#include "tile.hpp"

namespace fastplr::kernels {
namespace {

struct Vectors256 {
    using Floats = __m256;
    using Bytes = __m256i;
    static constexpr int kVectors = 2;
    static constexpr int kPanels = 1;

    static Floats zero() { return _mm256_setzero_ps(); }
    static Bytes load(const std::uint8_t* bytes) {
        return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(bytes));
    }
    static Floats load(const float* values) { return _mm256_loadu_ps(values); }
    static void store(Floats values, float* to) { _mm256_storeu_ps(to, values); }
    static Bytes broadcast(const std::int8_t* four) {
        std::int32_t value;
        std::memcpy(&value, four, sizeof value);
        return _mm256_set1_epi32(value);
    }
    static Floats times(Floats a, Floats b) { return _mm256_mul_ps(a, b); }
    static Floats add_product(Floats a, float b, Floats sum) {
        return _mm256_fmadd_ps(a, _mm256_set1_ps(b), sum);
    }

    static void widen(const std::uint16_t* halves, float* values) {
        for (int i = 0; i < kPanel; i += 8) {
            const __m128i eight = _mm_loadu_si128(reinterpret_cast<const __m128i*>(halves + i));
            _mm256_storeu_ps(values + i, _mm256_cvtph_ps(eight));
        }
    }

    /// Codes of a unit from 4 bits to what they stand for, plus `shift`.
    static void look_up_shifted(std::uint8_t* codes, int shift) {
        const __m128i table = _mm_add_epi8(_mm_loadu_si128(reinterpret_cast<const __m128i*>(kNonlinear)),
                                           _mm_set1_epi8(static_cast<char>(shift)));
        const __m256i wide = _mm256_broadcastsi128_si256(table);
        for (int i = 0; i < kPanel * kUnit; i += 32) {
            auto* at = reinterpret_cast<__m256i*>(codes + i);
            _mm256_storeu_si256(at, _mm256_shuffle_epi8(wide, _mm256_loadu_si256(at)));
        }
    }
};

}  // namespace
}  // namespace fastplr::kernels
