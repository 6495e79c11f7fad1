// ARM with the dot-product instructions (ARMv8.2): 16 products of bytes in one instruction.
#include <arm_neon.h>

#include "variant_of.hpp"

namespace fastplr::kernels {
namespace {

struct NeonDot {
    using Floats = float32x4_t;
    using Bytes = int8x16_t;
    static constexpr int kVectors = 4;
    static constexpr int kWidth = 4;
    static constexpr int kFloatRows = 6;
    static constexpr int kFloatColumns = 4;
    static constexpr int kPanels = 1;
    static constexpr int kRows = 3;
    static constexpr bool kSignedCodes = true;  // others are below 64
    static constexpr int bits(int) { return 8; }

    static Floats zero() { return vdupq_n_f32(0.0F); }
    static Bytes load(const std::uint8_t* bytes) { return vreinterpretq_s8_u8(vld1q_u8(bytes)); }
    static Floats load(const float* values) { return vld1q_f32(values); }
    static void store(Floats values, float* to) { vst1q_f32(to, values); }
    static Floats set(float value) { return vdupq_n_f32(value); }
    static Floats fma(Floats a, Floats b, Floats c) { return vfmaq_f32(c, a, b); }
    static Floats max(Floats a, Floats b) { return vmaxq_f32(a, b); }
    static float largest(Floats a) { return vmaxvq_f32(a); }
    static float total(Floats a) { return vaddvq_f32(a); }
    static Floats load_halves(const std::uint16_t* halves) {
        return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(halves)));
    }
    static Floats times_power_of_two(Floats a, Floats power) {
        const uint32x4_t shifted = vshlq_n_u32(vreinterpretq_u32_f32(power), 23);
        return vreinterpretq_f32_u32(vaddq_u32(vreinterpretq_u32_f32(a), shifted));
    }
    static Floats zero_where_below(Floats x, Floats limit, Floats a) {
        return vreinterpretq_f32_u32(vbicq_u32(vreinterpretq_u32_f32(a), vcltq_f32(x, limit)));
    }
    static Floats swap_neighbours(Floats a) { return vrev64q_f32(a); }
    static Floats interleave_low(Floats a, Floats b) { return vzip1q_f32(a, b); }
    static Floats interleave_high(Floats a, Floats b) { return vzip2q_f32(a, b); }

    static Bytes broadcast(const std::int8_t* four) {
        std::int32_t value;
        std::memcpy(&value, four, sizeof value);
        return vreinterpretq_s8_s32(vdupq_n_s32(value));
    }
    static Floats less_magic(int32x4_t sum) {
        return vsubq_f32(vreinterpretq_f32_s32(sum), vdupq_n_f32(kMagic));
    }
    static Floats times(Floats a, Floats b) { return vmulq_f32(a, b); }
    static Floats add_product(Floats a, float b, Floats sum) { return vfmaq_n_f32(sum, a, b); }

    template <int>
    struct Sum {
        int32x4_t value;
        void start(std::int32_t offset) { value = vdupq_n_s32(offset); }
        void add(Bytes weights, Bytes four) { value = vdotq_s32(value, weights, four); }
        int32x4_t total(std::int32_t) const { return value; }
    };

    static std::uint32_t largest_magnitude(const float* unit) { return plain_largest_magnitude(unit); }
    static void round(const float* unit, float inverse, std::int8_t* codes, std::int32_t* sums) {
        plain_round(unit, inverse, codes, sums);
    }

    static void widen(const std::uint16_t* halves, float* values) {
        for (int i = 0; i < kPanel; i += kWidth) vst1q_f32(values + i, load_halves(halves + i));
    }

    /// Codes of a unit from 4 bits to what they stand for.
    static void look_up(std::uint8_t* codes) {
        const int8x16_t table = vld1q_s8(kNonlinear);
        for (int i = 0; i < kPanel * kUnit; i += 16) {
            vst1q_u8(codes + i, vreinterpretq_u8_s8(vqtbl1q_s8(table, vld1q_u8(codes + i))));
        }
    }
};

}  // namespace

const Variant& neon_dot_variant() {
    static constexpr Variant variant = variant_of<NeonDot>("neon-dot");
    return variant;
}

}  // namespace fastplr::kernels
