// AVX-512 with VNNI: 64 products of bytes in one instruction.
#include <immintrin.h>

#include "variant_of.hpp"

namespace fastplr::kernels {
namespace {

struct Avx512Vnni {
    using Floats = __m512;
    using Bytes = __m512i;
    static constexpr int kVectors = 1;
    static constexpr int kWidth = 16;
    static constexpr int kFloatRows = 6;
    static constexpr int kFloatColumns = 4;
    static constexpr int kPanels = 3;
    static constexpr int kRows = 4;
    static constexpr bool kSignedCodes = false;
    static constexpr int bits(int) { return 8; }

    static Floats zero() { return _mm512_setzero_ps(); }
    static Bytes load(const std::uint8_t* bytes) { return _mm512_loadu_si512(bytes); }
    static Floats load(const float* values) { return _mm512_loadu_ps(values); }
    static void store(Floats values, float* to) { _mm512_storeu_ps(to, values); }
    static Floats set(float value) { return _mm512_set1_ps(value); }
    static Floats fma(Floats a, Floats b, Floats c) { return _mm512_fmadd_ps(a, b, c); }
    static Floats max(Floats a, Floats b) { return _mm512_max_ps(a, b); }
    static float largest(Floats a) { return _mm512_reduce_max_ps(a); }
    static float total(Floats a) { return _mm512_reduce_add_ps(a); }
    static Floats load_halves(const std::uint16_t* halves) {
        return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(halves)));
    }
    static Floats times_power_of_two(Floats a, Floats power) {
        return _mm512_castsi512_ps(
            _mm512_add_epi32(_mm512_castps_si512(a), _mm512_slli_epi32(_mm512_castps_si512(power), 23)));
    }
    static Floats zero_where_below(Floats x, Floats limit, Floats a) {
        return _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(x, limit, _CMP_NLT_UQ), a);
    }
    static Floats swap_neighbours(Floats a) { return _mm512_permute_ps(a, 0xb1); }
    static Floats interleave_low(Floats a, Floats b) {
        const __m512i order = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
        return _mm512_permutex2var_ps(a, order, b);
    }
    static Floats interleave_high(Floats a, Floats b) {
        const __m512i order = _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
        return _mm512_permutex2var_ps(a, order, b);
    }

    static Bytes broadcast(const std::int8_t* four) {
        std::int32_t value;
        std::memcpy(&value, four, sizeof value);
        return _mm512_set1_epi32(value);
    }
    static Floats less_magic(Bytes sum) {
        return _mm512_sub_ps(_mm512_castsi512_ps(sum), _mm512_set1_ps(kMagic));
    }
    static Floats times(Floats a, Floats b) { return _mm512_mul_ps(a, b); }
    static Floats add_product(Floats a, float b, Floats sum) {
        return _mm512_fmadd_ps(a, _mm512_set1_ps(b), sum);
    }

    template <int>
    struct Sum {
        __m512i value;
        void start(std::int32_t offset) { value = _mm512_set1_epi32(offset); }
        void add(Bytes weights, Bytes four) { value = _mm512_dpbusd_epi32(value, weights, four); }
        Bytes total(std::int32_t) const { return value; }
    };

    static std::uint32_t largest_magnitude(const float* unit) {
        const __m512i magnitude = _mm512_set1_epi32(0x7fffffff);
        const __m512i low = _mm512_and_si512(_mm512_loadu_si512(unit), magnitude);
        const __m512i high = _mm512_and_si512(_mm512_loadu_si512(unit + 16), magnitude);
        return _mm512_reduce_max_epu32(_mm512_max_epu32(low, high));
    }
    static void round(const float* unit, float inverse, std::int8_t* codes, std::int32_t* sums) {
        // A product with an inverse of 0 may be NaN.
        const auto some = static_cast<__mmask16>(inverse == 0.0F ? 0 : 0xffff);
        const __m512 by = _mm512_set1_ps(inverse);
        for (int half = 0; half < 2; ++half) {
            const __m512 product = _mm512_maskz_mul_ps(some, _mm512_loadu_ps(unit + 16 * half), by);
            const __m512i code = _mm512_cvtps_epi32(product);
            _mm_storeu_si128(reinterpret_cast<__m128i*>(codes + 16 * half), _mm512_cvtepi32_epi8(code));
            sums[half] = _mm512_reduce_add_epi32(code);
        }
    }

    static void widen(const std::uint16_t* halves, float* values) {
        _mm512_storeu_ps(values, load_halves(halves));
    }

    /// Codes of a unit from 4 bits to what they stand for, plus 128.
    static void look_up(std::uint8_t* codes) {
        const __m128i table = _mm_xor_si128(_mm_loadu_si128(reinterpret_cast<const __m128i*>(kNonlinear)),
                                            _mm_set1_epi8(static_cast<char>(0x80)));
        const __m512i wide = _mm512_broadcast_i32x4(table);
        for (int i = 0; i < kPanel * kUnit; i += 64) {
            _mm512_storeu_si512(codes + i, _mm512_shuffle_epi8(wide, _mm512_loadu_si512(codes + i)));
        }
    }
};

}  // namespace

const Variant& avx512_vnni_variant() {
    static constexpr Variant variant = variant_of<Avx512Vnni>("avx512-vnni");
    return variant;
}

}  // namespace fastplr::kernels
