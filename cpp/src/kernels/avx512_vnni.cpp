// AVX-512 with VNNI: 64 products of bytes in one instruction.
#include <immintrin.h>

#include "tile.hpp"

namespace fastplr::kernels {
namespace {

struct Avx512Vnni {
    using Floats = __m512;
    using Bytes = __m512i;
    static constexpr int kVectors = 1;
    static constexpr int kPanels = 3;
    static constexpr int kRows = 4;
    static constexpr bool kSignedCodes = false;
    static constexpr int bits(int) { return 8; }

    static Floats zero() { return _mm512_setzero_ps(); }
    static Bytes load(const std::uint8_t* bytes) { return _mm512_loadu_si512(bytes); }
    static Floats load(const float* values) { return _mm512_loadu_ps(values); }
    static void store(Floats values, float* to) { _mm512_storeu_ps(to, values); }
    static Bytes broadcast(const std::int8_t* four) {
        std::int32_t value;
        std::memcpy(&value, four, sizeof value);
        return _mm512_set1_epi32(value);
    }
    static Floats times(Floats a, Floats b) { return _mm512_mul_ps(a, b); }
    static Floats add_product(Floats a, float b, Floats sum) {
        return _mm512_fmadd_ps(a, _mm512_set1_ps(b), sum);
    }

    template <int>
    struct Sum {
        __m512i value;
        void start() { value = _mm512_setzero_si512(); }
        void add(Bytes weights, Bytes four) { value = _mm512_dpbusd_epi32(value, weights, four); }
        Floats total(std::int32_t offset) const {
            return _mm512_cvtepi32_ps(_mm512_add_epi32(value, _mm512_set1_epi32(offset)));
        }
    };

    static void widen(const std::uint16_t* halves, float* values) {
        _mm512_storeu_ps(values,
                         _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(halves))));
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
