// ARM with the dot-product instructions (ARMv8.2): 16 products of bytes in one instruction.
#include <arm_neon.h>

#include "tile.hpp"

namespace fastplr::kernels {
namespace {

struct NeonDot {
    using Floats = float32x4_t;
    using Bytes = int8x16_t;
    static constexpr int kVectors = 4;
    static constexpr int kPanels = 1;
    static constexpr int kRows = 3;
    static constexpr bool kSignedCodes = true;  // others are below 64
    static constexpr int bits(int) { return 8; }

    static Floats zero() { return vdupq_n_f32(0.0F); }
    static Bytes load(const std::uint8_t* bytes) { return vreinterpretq_s8_u8(vld1q_u8(bytes)); }
    static Floats load(const float* values) { return vld1q_f32(values); }
    static void store(Floats values, float* to) { vst1q_f32(to, values); }
    static Bytes broadcast(const std::int8_t* four) {
        std::int32_t value;
        std::memcpy(&value, four, sizeof value);
        return vreinterpretq_s8_s32(vdupq_n_s32(value));
    }
    static Floats times(Floats a, Floats b) { return vmulq_f32(a, b); }
    static Floats add_product(Floats a, float b, Floats sum) { return vfmaq_n_f32(sum, a, b); }

    template <int>
    struct Sum {
        int32x4_t value;
        void start() { value = vdupq_n_s32(0); }
        void add(Bytes weights, Bytes four) { value = vdotq_s32(value, weights, four); }
        Floats total(std::int32_t offset) const {
            return vcvtq_f32_s32(vaddq_s32(value, vdupq_n_s32(offset)));
        }
    };

    static void widen(const std::uint16_t* halves, float* values) {
        for (int i = 0; i < kPanel; i += 4) {
            vst1q_f32(values + i, vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(halves + i))));
        }
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
