#include "packed_weights.hpp"

#include <algorithm>
#include <cstring>
#include <vector>

#include "half.hpp"
#include "nonlinear_table.hpp"

namespace fastplr::kernels {
namespace {

constexpr int kMaxBlock = 256;

/// One block of one output, as plain numbers.
struct Block {
    std::uint16_t d = 0;      // half float
    std::uint16_t dmin = 0;   // half float: of K types minus the min's scale, else the min
    std::uint8_t scales[16];  // of K types
    std::uint8_t mins[16];    // of q4_k and q5_k
    std::uint8_t codes[kMaxBlock];
};

std::uint16_t half_at(const std::uint8_t* bytes) {
    std::uint16_t half;
    std::memcpy(&half, bytes, sizeof half);
    return half;
}

/// Two codes in a byte, the second 16 inputs on.
void read_nibbles(const std::uint8_t* bytes, Block& block) {
    for (int i = 0; i < 16; ++i) {
        block.codes[i] = bytes[i] & 15;
        block.codes[i + 16] = static_cast<std::uint8_t>(bytes[i] >> 4);
    }
}

void add_fifth_bits(const std::uint8_t* bytes, Block& block) {
    for (int i = 0; i < kUnit; ++i) {
        block.codes[i] = static_cast<std::uint8_t>(block.codes[i] | ((bytes[i / 8] >> (i % 8)) & 1) << 4);
    }
}

/// Eight 6-bit scales and mins in twelve bytes.
void read_scales_and_mins(const std::uint8_t* bytes, Block& block) {
    for (int j = 0; j < 4; ++j) {
        block.scales[j] = bytes[j] & 63;
        block.mins[j] = bytes[j + 4] & 63;
        block.scales[j + 4] = static_cast<std::uint8_t>((bytes[j + 8] & 15) | (bytes[j] >> 6) << 4);
        block.mins[j + 4] = static_cast<std::uint8_t>(bytes[j + 8] >> 4 | (bytes[j + 4] >> 6) << 4);
    }
}

/// Sixteen 6-bit scales in twelve bytes, less 32.
void read_signed_scales(const std::uint8_t* bytes, Block& block) {
    for (int j = 0; j < 16; ++j) {
        const int low = j < 8 ? bytes[j] & 15 : bytes[j - 8] >> 4;
        const int high = (bytes[8 + j % 4] >> (2 * (j / 4))) & 3;
        block.scales[j] = static_cast<std::uint8_t>((low | high << 4) - 32);
    }
}

void read_k_nibbles(const std::uint8_t* bytes, Block& block) {
    for (int i = 0; i < 256; ++i) {
        const std::uint8_t byte = bytes[i / 64 * 32 + i % 32];
        block.codes[i] = static_cast<std::uint8_t>(i % 64 < 32 ? byte & 15 : byte >> 4);
    }
}

int two_bits(const std::uint8_t* bytes, int i) {
    return (bytes[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2)) & 3;
}

Block read_block(const WeightFormat& format, const std::uint8_t* bytes) {
    Block block;
    switch (format.type) {
        case WeightType::q8_0:
            block.d = half_at(bytes);
            for (int i = 0; i < kUnit; ++i) block.codes[i] = bytes[2 + i] ^ 0x80;
            break;
        case WeightType::q4_0:
        case WeightType::iq4_nl:
            block.d = half_at(bytes);
            read_nibbles(bytes + 2, block);
            break;
        case WeightType::q4_1:
            block.d = half_at(bytes);
            block.dmin = half_at(bytes + 2);
            read_nibbles(bytes + 4, block);
            break;
        case WeightType::q5_0:
            block.d = half_at(bytes);
            read_nibbles(bytes + 6, block);
            add_fifth_bits(bytes + 2, block);
            break;
        case WeightType::q5_1:
            block.d = half_at(bytes);
            block.dmin = half_at(bytes + 2);
            read_nibbles(bytes + 8, block);
            add_fifth_bits(bytes + 4, block);
            break;
        case WeightType::q2_k:
            block.d = half_at(bytes + 80);
            block.dmin = half_at(bytes + 82);
            for (int j = 0; j < 16; ++j) block.scales[j] = bytes[j];
            for (int i = 0; i < 256; ++i) block.codes[i] = static_cast<std::uint8_t>(two_bits(bytes + 16, i));
            break;
        case WeightType::q3_k:
            block.d = half_at(bytes + 108);
            read_signed_scales(bytes + 96, block);
            for (int i = 0; i < 256; ++i) {
                const int high = (bytes[i % 32] >> (i / 32)) & 1;
                block.codes[i] = static_cast<std::uint8_t>(two_bits(bytes + 32, i) | high << 2);
            }
            break;
        case WeightType::q4_k:
            block.d = half_at(bytes);
            block.dmin = half_at(bytes + 2);
            read_scales_and_mins(bytes + 4, block);
            read_k_nibbles(bytes + 16, block);
            break;
        case WeightType::q5_k:
            block.d = half_at(bytes);
            block.dmin = half_at(bytes + 2);
            read_scales_and_mins(bytes + 4, block);
            read_k_nibbles(bytes + 48, block);
            for (int i = 0; i < 256; ++i) {
                const int high = (bytes[16 + i % 32] >> (i / 32)) & 1;
                block.codes[i] = static_cast<std::uint8_t>(block.codes[i] | high << 4);
            }
            break;
        case WeightType::q6_k:
            block.d = half_at(bytes + 208);
            for (int j = 0; j < 16; ++j) block.scales[j] = bytes[192 + j];
            for (int i = 0; i < 256; ++i) {
                const std::uint8_t low = bytes[i / 128 * 64 + i % 64];
                const int nibble = i % 128 < 64 ? low & 15 : low >> 4;
                block.codes[i] = static_cast<std::uint8_t>(nibble | two_bits(bytes + 128, i) << 4);
            }
            break;
    }
    return block;
}

void put_half(std::uint8_t* halves, int lane, std::uint16_t value) {
    std::memcpy(halves + 2 * lane, &value, sizeof value);
}

void write_header(const WeightFormat& format, const Block& block, int lane, std::uint8_t* header) {
    put_half(header, lane, block.d);
    header += 2 * kPanel;
    if (format.mins) {
        put_half(header, lane, block.dmin);
        header += 2 * kPanel;
    }
    if (format.n_block == kUnit) return;
    const bool both = format.type == WeightType::q4_k || format.type == WeightType::q5_k;
    for (int j = 0; j < (both ? 8 : 16); ++j) {
        header[j * kPanel + lane] = block.scales[j];
        if (both) header[(8 + j) * kPanel + lane] = block.mins[j];
    }
}

/// Where the bits of a step's codes lie: in which vector of a byte a lane and input, and the shift within a
/// byte.
struct Place {
    int vector;
    int shift;
};

constexpr int kVectorBytes = kPanel * kStep;

Place place_of(int step, int bits) {
    if (bits == 4) return {step % 4, step / 4 * 4};
    const int steps_of_byte = 8 / bits;
    return {step / steps_of_byte, step % steps_of_byte * bits};
}

/// Four codes at a time: a step of a lane is one word, in which every shift keeps the bytes apart.
void write_units(const WeightFormat& format, const Block& block, int lane, std::uint8_t* units) {
    const auto repeated = [](int byte) { return 0x01010101U * static_cast<std::uint32_t>(byte); };
    const std::uint32_t low_mask = repeated((1 << format.low_bits) - 1);
    const std::uint32_t high_mask = repeated((1 << format.high_bits) - 1);
    for (int unit = 0; unit < format.units_of_block(); ++unit, units += format.unit_bytes()) {
        std::uint32_t low[kSteps] = {}, high[2] = {};
        for (int step = 0; step < kSteps; ++step) {
            std::uint32_t word;
            std::memcpy(&word, block.codes + unit * kUnit + step * kStep, sizeof word);
            const Place at = place_of(step, format.low_bits);
            low[at.vector] |= (word & low_mask) << at.shift;
            if (format.high_bits == 0) continue;
            const Place up = place_of(step, format.high_bits);
            high[up.vector] |= ((word >> format.low_bits) & high_mask) << up.shift;
        }
        const auto store = [&](const std::uint32_t* words, int count, std::uint8_t* to) {
            for (int i = 0; i < count; ++i) {
                std::memcpy(to + i * kVectorBytes + lane * kStep, words + i, sizeof(std::uint32_t));
            }
        };
        store(low, format.low_bits, units);
        store(high, format.high_bits, units + format.low_bytes());
    }
}

/// The code of an input of a unit.
int code_at(const WeightFormat& format, const std::uint8_t* unit, int lane, int input) {
    const int byte = lane * kStep + input % kStep;
    const Place at = place_of(input / kStep, format.low_bits);
    int code = (unit[at.vector * kVectorBytes + byte] >> at.shift) & ((1 << format.low_bits) - 1);
    if (format.high_bits > 0) {
        const Place up = place_of(input / kStep, format.high_bits);
        const int high = (unit[format.low_bytes() + up.vector * kVectorBytes + byte] >> up.shift) &
                         ((1 << format.high_bits) - 1);
        code |= high << format.low_bits;
    }
    return code;
}

}  // namespace

std::size_t packed_bytes(const WeightFormat& format, std::int64_t n_outputs, std::int64_t n_inputs) {
    return static_cast<std::size_t>((n_outputs + kPanel - 1) / kPanel) * format.panel_bytes(n_inputs);
}

void pack(const WeightFormat& format, const std::uint8_t* rows, std::int64_t n_outputs, std::int64_t n_inputs,
          std::uint8_t* panels) {
    const std::int64_t n_blocks = n_inputs / format.n_block;
    const std::size_t row_bytes =
        static_cast<std::size_t>(n_blocks) * static_cast<std::size_t>(format.file_bytes);
    std::memset(panels, 0, packed_bytes(format, n_outputs, n_inputs));
    for (std::int64_t first = 0; first < n_outputs; first += kPanel) {
        const int n_lanes = static_cast<int>(std::min<std::int64_t>(kPanel, n_outputs - first));
        for (std::int64_t b = 0; b < n_blocks; ++b, panels += format.block_bytes()) {
            for (int lane = 0; lane < n_lanes; ++lane) {
                const std::uint8_t* bytes =
                    rows + static_cast<std::size_t>(first + lane) * row_bytes +
                    static_cast<std::size_t>(b) * static_cast<std::size_t>(format.file_bytes);
                const Block block = read_block(format, bytes);
                write_header(format, block, lane, panels);
                write_units(format, block, lane, panels + format.header_bytes);
            }
        }
    }
}

void unpack_row(const WeightFormat& format, const std::uint8_t* panels, std::int64_t output,
                std::int64_t n_inputs, float* row) {
    const std::uint8_t* panel =
        panels + static_cast<std::size_t>(output / kPanel) * format.panel_bytes(n_inputs);
    const int lane = static_cast<int>(output % kPanel);
    for (std::int64_t i = 0; i < n_inputs; ++i) {
        const std::uint8_t* block =
            panel + static_cast<std::size_t>(i / format.n_block) * format.block_bytes();
        const int within = static_cast<int>(i % format.n_block);
        float scale = half_to_float(half_at(block + 2 * lane));
        float min = format.mins ? half_to_float(half_at(block + 2 * (kPanel + lane))) : 0.0F;
        const std::uint8_t* scales = block + (format.mins ? 4 : 2) * kPanel;
        switch (format.type) {
            case WeightType::q2_k: {
                const std::uint8_t both = scales[within / 16 * kPanel + lane];
                scale *= static_cast<float>(both & 15);
                min *= -static_cast<float>(both >> 4);
                break;
            }
            case WeightType::q3_k:
            case WeightType::q6_k:
                scale *= static_cast<float>(static_cast<std::int8_t>(scales[within / 16 * kPanel + lane]));
                break;
            case WeightType::q4_k:
            case WeightType::q5_k:
                scale *= static_cast<float>(scales[within / kUnit * kPanel + lane]);
                min *= -static_cast<float>(scales[(8 + within / kUnit) * kPanel + lane]);
                break;
            default:
                break;
        }
        const std::uint8_t* unit = block + format.header_bytes + within / kUnit * format.unit_bytes();
        int code = code_at(format, unit, lane, within % kUnit);
        code = format.type == WeightType::iq4_nl ? kNonlinear[code] : code - format.zero;
        row[i] = scale * static_cast<float>(code) + min;
    }
}

}  // namespace fastplr::kernels
