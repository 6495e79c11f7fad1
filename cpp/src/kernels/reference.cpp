// Plain C++: what every other variant is compared with, and what runs where none of them can.
#include "tile.hpp"

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
    static Four broadcast(const std::int8_t* four) {
        Four loaded;
        std::memcpy(loaded.values, four, sizeof loaded.values);
        return loaded;
    }
    static Floats times(Floats a, Floats b) { return a * b; }
    static Floats add_product(Floats a, float b, Floats sum) { return a * b + sum; }

    template <int>
    struct Sum {
        std::int32_t value;
        void start() { value = 0; }
        void add(const Bytes& weights, const Four& four) {
            for (int i = 0; i < kStep; ++i) value += weights.values[i] * four.values[i];
        }
        Floats total(std::int32_t offset) const { return static_cast<float>(value + offset); }
    };

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
