// The quantised weights of GGUF files that have kernels here, and how they lie in memory once packed.
#pragma once

#include <cstddef>
#include <cstdint>

namespace fastplr::kernels {

/// Outputs of a panel: weights of so many outputs lie beside one another.
constexpr int kPanel = 16;
/// Inputs of a unit: what shares a scale of the activations.
constexpr int kUnit = 32;
/// Inputs whose products are added up at once, lane by lane.
constexpr int kStep = 4;
constexpr int kSteps = kUnit / kStep;

enum class WeightType { q8_0, q4_0, q4_1, q5_0, q5_1, iq4_nl, q2_k, q3_k, q4_k, q5_k, q6_k };

/// A weight is scale * (code - zero) + min (no min in most types; iq4_nl looks its code up in a table).
///
/// A panel is a sequence of blocks along the inputs. A block holds the scales of its outputs, then its units.
/// A unit holds the codes of kUnit inputs of kPanel outputs: the low bits of all, then the high bits of all.
/// Lane i of the 64 bytes of a step belongs to output i / 4 and input i % 4 of the step. One byte of low bits
/// holds 8 / low_bits steps, one of high bits 8 / high_bits.
struct WeightFormat {
    WeightType type;
    const char* name;  // as in GGUF
    int n_block;       // inputs of a block: kUnit or 256
    int file_bytes;    // of a block of one output, in the file
    int header_bytes;  // of the scales of a block of a panel
    int low_bits;      // 2, 4 or 8
    int high_bits;     // 0, 1 or 2
    int n_groups;      // groups of a unit that have a scale each: 1 or 2
    int zero;          // the code that stands for zero
    bool mins;

    int units_of_block() const { return n_block / kUnit; }
    int low_bytes() const { return kPanel * kUnit * low_bits / 8; }
    int high_bytes() const { return kPanel * kUnit * high_bits / 8; }
    int unit_bytes() const { return low_bytes() + high_bytes(); }
    std::size_t block_bytes() const {
        return static_cast<std::size_t>(header_bytes + units_of_block() * unit_bytes());
    }
    std::size_t panel_bytes(std::int64_t n_inputs) const {
        return block_bytes() * static_cast<std::size_t>(n_inputs / n_block);
    }
};

/// Headers: scales of 32-input blocks are [16] half floats, then mins as well. Of 256-input blocks: [16] half
/// floats d, for types with mins [16] half floats dmin, then q4_k and q5_k: [8][16] scales and [8][16] mins;
/// q6_k and q3_k: [16][16] signed scales; q2_k: [16][16] bytes of a scale and a min.
inline const WeightFormat& format_of(WeightType type) {
    static constexpr WeightFormat formats[] = {
        {WeightType::q8_0, "Q8_0", 32, 34, 32, 8, 0, 1, 128, false},
        {WeightType::q4_0, "Q4_0", 32, 18, 32, 4, 0, 1, 8, false},
        {WeightType::q4_1, "Q4_1", 32, 20, 64, 4, 0, 1, 0, true},
        {WeightType::q5_0, "Q5_0", 32, 22, 32, 4, 1, 1, 16, false},
        {WeightType::q5_1, "Q5_1", 32, 24, 64, 4, 1, 1, 0, true},
        {WeightType::iq4_nl, "IQ4_NL", 32, 18, 32, 4, 0, 1, 128, false},
        {WeightType::q2_k, "Q2_K", 256, 84, 64 + 256, 2, 0, 2, 0, true},
        {WeightType::q3_k, "Q3_K", 256, 110, 32 + 256, 2, 1, 2, 4, false},
        {WeightType::q4_k, "Q4_K", 256, 144, 64 + 256, 4, 0, 1, 0, true},
        {WeightType::q5_k, "Q5_K", 256, 176, 64 + 256, 4, 1, 1, 0, true},
        {WeightType::q6_k, "Q6_K", 256, 210, 32 + 256, 4, 2, 2, 32, false},
    };
    return formats[static_cast<int>(type)];
}

}  // namespace fastplr::kernels
