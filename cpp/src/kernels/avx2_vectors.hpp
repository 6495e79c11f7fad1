// What AVX2 and AVX-VNNI share: vectors of 8 outputs. Included by one file for each.
#pragma once

#include <immintrin.h>

#include "variant_of.hpp"

namespace fastplr::kernels {
namespace {

struct Vectors256 {
    using Floats = __m256;
    using Bytes = __m256i;
    static constexpr int kVectors = 2;
    static constexpr int kWidth = 8;
    static constexpr int kFloatRows = 6;
    static constexpr int kFloatColumns = 2;
    static constexpr int kPanels = 1;

    static Floats zero() { return _mm256_setzero_ps(); }
    static Bytes load(const std::uint8_t* bytes) {
        return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(bytes));
    }
    static Floats load(const float* values) { return _mm256_loadu_ps(values); }
    static void store(Floats values, float* to) { _mm256_storeu_ps(to, values); }
    static Floats set(float value) { return _mm256_set1_ps(value); }
    static Floats fma(Floats a, Floats b, Floats c) { return _mm256_fmadd_ps(a, b, c); }
    static Floats max(Floats a, Floats b) { return _mm256_max_ps(a, b); }
    static float largest(Floats a) {
        __m128 half = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
        half = _mm_max_ps(half, _mm_movehl_ps(half, half));
        return _mm_cvtss_f32(_mm_max_ss(half, _mm_movehdup_ps(half)));
    }
    static float total(Floats a) {
        __m128 half = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
        half = _mm_add_ps(half, _mm_movehl_ps(half, half));
        return _mm_cvtss_f32(_mm_add_ss(half, _mm_movehdup_ps(half)));
    }
    static Floats load_halves(const std::uint16_t* halves) {
        return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(halves)));
    }
    static Floats times_power_of_two(Floats a, Floats power) {
        return _mm256_castsi256_ps(
            _mm256_add_epi32(_mm256_castps_si256(a), _mm256_slli_epi32(_mm256_castps_si256(power), 23)));
    }
    static Floats zero_where_below(Floats x, Floats limit, Floats a) {
        return _mm256_and_ps(_mm256_cmp_ps(x, limit, _CMP_NLT_UQ), a);
    }
    static Floats swap_neighbours(Floats a) { return _mm256_permute_ps(a, 0xb1); }
    static Floats interleave_low(Floats a, Floats b) {
        return _mm256_permute2f128_ps(_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b), 0x20);
    }
    static Floats interleave_high(Floats a, Floats b) {
        return _mm256_permute2f128_ps(_mm256_unpacklo_ps(a, b), _mm256_unpackhi_ps(a, b), 0x31);
    }

    static Bytes broadcast(const std::int8_t* four) {
        std::int32_t value;
        std::memcpy(&value, four, sizeof value);
        return _mm256_set1_epi32(value);
    }
    static Floats less_magic(Bytes sum) {
        return _mm256_sub_ps(_mm256_castsi256_ps(sum), _mm256_set1_ps(kMagic));
    }
    static Floats times(Floats a, Floats b) { return _mm256_mul_ps(a, b); }
    static Floats add_product(Floats a, float b, Floats sum) {
        return _mm256_fmadd_ps(a, _mm256_set1_ps(b), sum);
    }

    /// Sums of four products of bytes, in 32 bits.
    struct WordSum {
        __m256i value;
        void start(std::int32_t offset) { value = _mm256_set1_epi32(offset); }
        Bytes total(std::int32_t) const { return value; }
    };

    static std::uint32_t largest_magnitude(const float* unit) {
        const __m256i magnitude = _mm256_set1_epi32(0x7fffffff);
        __m256i largest = _mm256_setzero_si256();
        for (int i = 0; i < kUnit; i += 8) {
            const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(unit + i));
            largest = _mm256_max_epu32(largest, _mm256_and_si256(bits, magnitude));
        }
        __m128i half = _mm_max_epu32(_mm256_castsi256_si128(largest), _mm256_extracti128_si256(largest, 1));
        half = _mm_max_epu32(half, _mm_shuffle_epi32(half, 0x4e));
        half = _mm_max_epu32(half, _mm_shuffle_epi32(half, 0xb1));
        return static_cast<std::uint32_t>(_mm_cvtsi128_si32(half));
    }
    static void round(const float* unit, float inverse, std::int8_t* codes, std::int32_t* sums) {
        const __m256 by = _mm256_set1_ps(inverse);
        // A product with an inverse of 0 may be NaN.
        const __m256 some = _mm256_castsi256_ps(_mm256_set1_epi32(inverse == 0.0F ? 0 : -1));
        for (int half = 0; half < 2; ++half) {
            const float* from = unit + 16 * half;
            const __m256i low = _mm256_cvtps_epi32(_mm256_and_ps(some, _mm256_loadu_ps(from) * by));
            const __m256i high = _mm256_cvtps_epi32(_mm256_and_ps(some, _mm256_loadu_ps(from + 8) * by));
            // 16-bit words in the order 0-3 8-11 4-7 12-15, put right by the permutation
            const __m256i words = _mm256_permute4x64_epi64(_mm256_packs_epi32(low, high), 0xd8);
            const __m128i bytes =
                _mm_packs_epi16(_mm256_castsi256_si128(words), _mm256_extracti128_si256(words, 1));
            _mm_storeu_si128(reinterpret_cast<__m128i*>(codes + 16 * half), bytes);
            const __m256i both = _mm256_add_epi32(low, high);
            __m128i sum = _mm_add_epi32(_mm256_castsi256_si128(both), _mm256_extracti128_si256(both, 1));
            sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0x4e));
            sum = _mm_add_epi32(sum, _mm_shuffle_epi32(sum, 0xb1));
            sums[half] = _mm_cvtsi128_si32(sum);
        }
    }

    static void widen(const std::uint16_t* halves, float* values) {
        for (int i = 0; i < kPanel; i += kWidth) _mm256_storeu_ps(values + i, load_halves(halves + i));
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
