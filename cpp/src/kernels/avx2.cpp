// AVX2: pairs of products of bytes are added up to 16 bits, which must not overflow: |code| * 127 * 2 <=
// 32767.
#include "avx2_vectors.hpp"

namespace fastplr::kernels {
namespace {

struct Avx2 : Vectors256 {
    static constexpr int kRows = 2;
    static constexpr bool kSignedCodes = true;
    static constexpr int bits(int code_bits) { return code_bits <= 4 ? 4 : code_bits <= 6 ? 6 : 8; }
    static void look_up(std::uint8_t* codes) { look_up_shifted(codes, 0); }

    static __m256i pairs_to_words(__m256i pairs) { return _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)); }

    /// Signed codes of 8 bits: |code| <= 128 takes the sign of the activation along.
    template <int kBits>
    struct Sum : WordSum {
        void add(Bytes weights, Bytes four) {
            const __m256i pairs =
                _mm256_maddubs_epi16(_mm256_abs_epi8(weights), _mm256_sign_epi8(four, weights));
            value = _mm256_add_epi32(value, pairs_to_words(pairs));
        }
    };
};

/// Codes up to 63.
template <>
struct Avx2::Sum<6> : Vectors256::WordSum {
    void add(Bytes weights, Bytes four) {
        value = _mm256_add_epi32(value, pairs_to_words(_mm256_maddubs_epi16(weights, four)));
    }
};

/// Codes up to 15: the pairs of all eight steps of a unit fit 16 bits (8 * 2 * 15 * 127 = 30480).
template <>
struct Avx2::Sum<4> {
    __m256i pairs;
    void start(std::int32_t) { pairs = _mm256_setzero_si256(); }
    void add(Bytes weights, Bytes four) {
        pairs = _mm256_add_epi16(pairs, _mm256_maddubs_epi16(weights, four));
    }
    Bytes total(std::int32_t offset) const {
        return _mm256_add_epi32(pairs_to_words(pairs), _mm256_set1_epi32(offset));
    }
};

}  // namespace

const Variant& avx2_variant() {
    static constexpr Variant variant = variant_of<Avx2>("avx2");
    return variant;
}

}  // namespace fastplr::kernels
