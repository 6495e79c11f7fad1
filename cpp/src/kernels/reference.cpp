// Plain C++: what every other variant is compared with, and what runs where none of them can.
#include "variant_of.hpp"

namespace fastplr::kernels {
namespace {

/// A "vector" of one output.
struct Plain {
    using Floats = float;
    struct Bytes {
        std::uint8_t values[kStep];
    };
    struct Four {
        std::int8_t values[kStep];
    };
    static constexpr int kVectors = kPanel;
    static constexpr int kWidth = 1;
    static constexpr int kFloatRows = 1;
    static constexpr int kFloatColumns = 1;
    static constexpr int kPanels = 1;
    static constexpr int kRows = 1;
    static constexpr bool kSignedCodes = false;
    static constexpr int bits(int) { return 8; }

    static Floats zero() { return 0.0F; }
    static Bytes load(const std::uint8_t* bytes) {
        Bytes loaded;
        std::memcpy(loaded.values, bytes, sizeof loaded.values);
        return loaded;
    }
    static Floats load(const float* value) { return *value; }
    static void store(Floats value, float* to) { *to = value; }
    static Floats set(float value) { return value; }
    static Floats fma(Floats a, Floats b, Floats c) { return a * b + c; }
    static Floats max(Floats a, Floats b) { return a > b ? a : b; }
    static float largest(Floats a) { return a; }
    static float total(Floats a) { return a; }
    static Floats load_halves(const std::uint16_t* half) { return half_to_float(*half); }
    static Floats times_power_of_two(Floats a, Floats power) {
        return bits_of<float>(bits_of<std::uint32_t>(a) + (bits_of<std::uint32_t>(power) << 23));
    }
    static Floats zero_where_below(Floats x, Floats limit, Floats a) { return x < limit ? 0.0F : a; }
    static Floats interleave_low(Floats a, Floats) { return a; }
    static Floats interleave_high(Floats, Floats b) { return b; }

    static Four broadcast(const std::int8_t* four) {
        Four loaded;
        std::memcpy(loaded.values, four, sizeof loaded.values);
        return loaded;
    }
    static Floats less_magic(std::int32_t sum) { return bits_of<float>(sum) - kMagic; }
    static Floats times(Floats a, Floats b) { return a * b; }
    static Floats add_product(Floats a, float b, Floats sum) { return a * b + sum; }

    template <int>
    struct Sum {
        std::int32_t value;
        void start(std::int32_t offset) { value = offset; }
        void add(const Bytes& weights, const Four& four) {
            for (int i = 0; i < kStep; ++i) value += weights.values[i] * four.values[i];
        }
        std::int32_t total(std::int32_t) const { return value; }
    };

    static std::uint32_t largest_magnitude(const float* unit) { return plain_largest_magnitude(unit); }
    static void round(const float* unit, float inverse, std::int8_t* codes, std::int32_t* sums) {
        plain_round(unit, inverse, codes, sums);
    }

    static void widen(const std::uint16_t* halves, float* values) {
        for (int i = 0; i < kPanel; ++i) values[i] = half_to_float(halves[i]);
    }
    static void look_up(std::uint8_t* codes) {
        for (int i = 0; i < kPanel * kUnit; ++i) {
            codes[i] = static_cast<std::uint8_t>(kNonlinear[codes[i]] + 128);
        }
    }
};

}  // namespace

const Variant& reference_variant() {
    static constexpr Variant variant = variant_of<Plain>("reference");
    return variant;
}

}  // namespace fastplr::kernels
