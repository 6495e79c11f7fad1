// AVX-VNNI: 32 products of bytes in one instruction, on processors without AVX-512.
#include "avx2_vectors.hpp"

namespace fastplr::kernels {
namespace {

struct AvxVnni : Vectors256 {
    static constexpr int kRows = 3;
    static constexpr bool kSignedCodes = false;
    static constexpr int bits(int) { return 8; }
    static void look_up(std::uint8_t* codes) { look_up_shifted(codes, 128); }

    template <int>
    struct Sum : WordSum {
        void add(Bytes weights, Bytes four) { value = _mm256_dpbusd_avx_epi32(value, weights, four); }
    };
};

}  // namespace

const Variant& avx_vnni_variant() {
    static constexpr Variant variant = variant_of<AvxVnni>("avx-vnni");
    return variant;
}

}  // namespace fastplr::kernels
