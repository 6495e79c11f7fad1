// The product of a few rows and a few panels, over a vector type. Included by one source file for each
// instruction set, which is compiled for it alone: everything here has internal linkage, and nothing of the
// standard library is used that the linker might merge with the code of other files.
#pragma once

#include <cstring>

#include "half.hpp"
#include "nonlinear_table.hpp"
#include "variant.hpp"

namespace fastplr::kernels {
namespace {

/// Values below are zero: their quotients would overflow.
constexpr float kTiny = 1e-30F;
/// 1.5 * 2^23: a whole number n of less than 2^22, added to the bits of this float, gives those of the float
/// kMagic + n. So a sum of whole numbers that starts with these bits becomes a float by one subtraction, and
/// a float that kMagic is added to has the nearest whole number in its last bits.
constexpr float kMagic = 12582912.0F;

template <typename To, typename From>
To bits_of(const From& from) {
    To to;
    std::memcpy(&to, &from, sizeof to);
    return to;
}

/// Units that are quantised at a time.
constexpr int kUnitsAtOnce = 64;

/// The scale of a unit whose largest magnitude has the bits `largest`, and what its values are multiplied
/// with to make codes of them: 0 where the unit is zero or not finite.
inline void scale_of(std::uint32_t largest, float& scale, float& inverse) {
    constexpr std::uint32_t kInfinity = 0x7f800000U;
    constexpr std::uint32_t kHuge = 0x7f000000U;
    // Rounded up to 9 bits: what changes the last bits of an activation (another batch, another order of a
    // sum) nearly always leaves scale and codes as they were, instead of moving every product a little.
    const std::uint32_t rounded = largest < kHuge ? (largest + 0x7fffU) & ~0x7fffU : largest;
    const float top = bits_of<float>(rounded);
    const bool some = top >= kTiny && largest < kInfinity;
    inverse = some ? 127.0F / top : 0.0F;
    scale = some ? top / 127.0F : largest < kInfinity ? 0.0F : bits_of<float>(0x7fc00000U);
}

template <typename V>
void quantise_row(const WeightFormat& format, int zero, const float* row, std::int64_t n_inputs,
                  const Activations& to) {
    const int n_groups = format.n_groups;
    const std::int64_t n_units = n_inputs / kUnit;
    for (std::int64_t first = 0; first < n_units; first += kUnitsAtOnce) {
        const int count = static_cast<int>(n_units - first < kUnitsAtOnce ? n_units - first : kUnitsAtOnce);
        std::uint32_t largest[kUnitsAtOnce];
        float inverses[kUnitsAtOnce];
        for (int u = 0; u < count; ++u) largest[u] = V::largest_magnitude(row + (first + u) * kUnit);
        float* scales = to.scales + first;
        for (int u = 0; u < count; ++u) scale_of(largest[u], scales[u], inverses[u]);
        for (int u = 0; u < count; ++u) {
            const std::int64_t at = first + u;
            std::int32_t sums[2];  // of the halves of the unit
            V::round(row + at * kUnit, inverses[u], to.codes + at * kUnit, sums);
            if (n_groups == 1) sums[0] += sums[1];
            for (int g = 0; g < n_groups; ++g) {
                to.offsets[at * n_groups + g] = bits_of<std::int32_t>(kMagic) - zero * sums[g];
                if (format.mins) to.sums[at * n_groups + g] = scales[u] * static_cast<float>(sums[g]);
            }
        }
    }
}

/// Bits of the largest magnitude of a unit; numbers >= 0 are in the order of their bits, NaN the largest.
inline std::uint32_t plain_largest_magnitude(const float* unit) {
    std::uint32_t largest = 0;
    for (int i = 0; i < kUnit; ++i) {
        const std::uint32_t magnitude = bits_of<std::uint32_t>(unit[i]) & 0x7fffffffU;
        largest = magnitude > largest ? magnitude : largest;
    }
    return largest;
}

/// Codes of a unit, and the sums of those of its halves. With an inverse of 0 all are 0.
inline void plain_round(const float* unit, float inverse, std::int8_t* codes, std::int32_t* sums) {
    sums[0] = sums[1] = 0;
    for (int i = 0; i < kUnit; ++i) {
        const float product = inverse == 0.0F ? 0.0F : unit[i] * inverse;
        const std::int32_t code = bits_of<std::int32_t>(product + kMagic) - bits_of<std::int32_t>(kMagic);
        codes[i] = static_cast<std::int8_t>(code);
        sums[i / (kUnit / 2)] += code;
    }
}

/// Codes of a unit, the low bits alone or with high bits.
template <int kLow, int kHigh>
void unpack_unit(const std::uint8_t* __restrict low, const std::uint8_t* __restrict high,
                 std::uint8_t* __restrict codes) {
    constexpr int kBytes = kPanel * kStep;
    constexpr int kLowMask = (1 << kLow) - 1;
    constexpr int kHighMask = (1 << kHigh) - 1;
#pragma GCC unroll 8
    for (int step = 0; step < kSteps; ++step) {
        const int low_at = kLow == 4 ? step % 4 : step / (8 / kLow);
        const int low_shift = kLow == 4 ? step / 4 * 4 : step % (8 / kLow) * kLow;
        constexpr int kHighSteps = kHigh == 0 ? 8 : 8 / kHigh;
        const int high_at = step / kHighSteps;
        const int high_shift = step % kHighSteps * kHigh;
        for (int i = 0; i < kBytes; ++i) {
            int code = (low[low_at * kBytes + i] >> low_shift) & kLowMask;
            if (kHigh > 0) code |= ((high[high_at * kBytes + i] >> high_shift) & kHighMask) << kLow;
            codes[step * kBytes + i] = static_cast<std::uint8_t>(code);
        }
    }
}

void unpack_codes(const WeightFormat& format, const std::uint8_t* unit, std::uint8_t* codes) {
    const std::uint8_t* high = unit + format.low_bytes();
    switch (format.low_bits * 4 + format.high_bits) {
        case 8 * 4:
            std::memcpy(codes, unit, kPanel * kUnit);
            break;
        case 4 * 4:
            unpack_unit<4, 0>(unit, high, codes);
            break;
        case 4 * 4 + 1:
            unpack_unit<4, 1>(unit, high, codes);
            break;
        case 4 * 4 + 2:
            unpack_unit<4, 2>(unit, high, codes);
            break;
        case 2 * 4:
            unpack_unit<2, 0>(unit, high, codes);
            break;
        default:
            unpack_unit<2, 1>(unit, high, codes);
            break;
    }
}

template <typename V>
void read_halves(const std::uint8_t* bytes, float* values) {
    std::uint16_t halves[kPanel];
    std::memcpy(halves, bytes, sizeof halves);
    V::widen(halves, values);
}

/// Scales and mins of a unit, `at` within its block.
template <typename V>
void unpack_scales(const WeightFormat& format, const std::uint8_t* header, int at, float* scales,
                   float* mins) {
    float d[kPanel], dmin[kPanel];
    read_halves<V>(header, d);
    if (format.mins) read_halves<V>(header + 2 * kPanel, dmin);
    const std::uint8_t* rest = header + (format.mins ? 4 : 2) * kPanel;
    switch (format.type) {
        case WeightType::q2_k:
            for (int g = 0; g < 2; ++g) {
                const std::uint8_t* both = rest + (2 * at + g) * kPanel;
                for (int i = 0; i < kPanel; ++i) {
                    scales[g * kPanel + i] = d[i] * static_cast<float>(both[i] & 15);
                    mins[g * kPanel + i] = dmin[i] * -static_cast<float>(both[i] >> 4);
                }
            }
            break;
        case WeightType::q3_k:
        case WeightType::q6_k:
            for (int g = 0; g < 2; ++g) {
                const std::uint8_t* own = rest + (2 * at + g) * kPanel;
                for (int i = 0; i < kPanel; ++i) {
                    scales[g * kPanel + i] = d[i] * static_cast<float>(static_cast<std::int8_t>(own[i]));
                }
            }
            break;
        case WeightType::q4_k:
        case WeightType::q5_k:
            for (int i = 0; i < kPanel; ++i) {
                scales[i] = d[i] * static_cast<float>(rest[at * kPanel + i]);
                mins[i] = dmin[i] * -static_cast<float>(rest[(8 + at) * kPanel + i]);
            }
            break;
        default:
            std::memcpy(scales, d, sizeof d);
            if (format.mins) std::memcpy(mins, dmin, sizeof dmin);
            break;
    }
}

template <typename V>
void unpack_panel(const WeightFormat& format, const std::uint8_t* panel, std::int64_t n_inputs,
                  const UnpackedPanel& to) {
    const int n_units = format.units_of_block();
    const int group_floats = format.n_groups * kPanel;
    std::uint8_t* codes = to.codes;
    for (std::int64_t u = 0; u < n_inputs / kUnit; ++u, codes += kPanel * kUnit) {
        const int at = static_cast<int>(u % n_units);
        const std::uint8_t* unit = panel + format.header_bytes + at * format.unit_bytes();
        unpack_codes(format, unit, codes);
        if (format.type == WeightType::iq4_nl) V::look_up(codes);
        if (format.type == WeightType::q8_0 && V::kSignedCodes) {
            for (int i = 0; i < kPanel * kUnit; ++i) codes[i] ^= 0x80;
        }
        unpack_scales<V>(format, panel, at, to.scales + u * group_floats,
                         format.mins ? to.mins + u * group_floats : nullptr);
        if (at == n_units - 1) panel += format.block_bytes();
    }
}

/// kRows rows times kPanels panels. V::Sum<kBits> adds up the products of a group in whole numbers.
template <typename V, int kRows, int kPanels, int kGroups, bool kMins, int kBits>
void multiply_tile(const Activations& rows, std::int64_t n_inputs, const UnpackedPanel* panels, float* out,
                   std::int64_t stride) {
    constexpr int kVectors = V::kVectors;  // of a panel
    constexpr int kLanes = kPanel / kVectors;
    constexpr int kGroupSteps = kSteps / kGroups;
    constexpr int kColumns = kPanels * kVectors;
    using Sum = typename V::template Sum<kBits>;
    const std::int64_t n_groups = n_inputs / kUnit * kGroups;
    const std::uint8_t* codes[kPanels];
    const float* scales[kPanels];
    const float* mins[kPanels];
    for (int p = 0; p < kPanels; ++p) {
        codes[p] = panels[p].codes;
        scales[p] = panels[p].scales;
        mins[p] = panels[p].mins;
    }
    typename V::Floats total[kRows][kColumns];
    for (auto& row : total) {
        for (auto& value : row) value = V::zero();
    }
    for (std::int64_t group = 0; group < n_groups; ++group) {
        Sum sums[kRows][kColumns];
        for (int r = 0; r < kRows; ++r) {
            for (auto& sum : sums[r]) sum.start(rows.offsets[r * n_groups + group]);
        }
#pragma GCC unroll 8
        for (int step = 0; step < kGroupSteps; ++step) {
            const std::int64_t at = group * kGroupSteps + step;
            typename V::Bytes weights[kColumns];
            for (int c = 0; c < kColumns; ++c) {
                weights[c] = V::load(codes[c / kVectors] + (at * kVectors + c % kVectors) * kLanes * kStep);
            }
            for (int r = 0; r < kRows; ++r) {
                const auto four = V::broadcast(rows.codes + r * n_inputs + at * kStep);
                for (int c = 0; c < kColumns; ++c) sums[r][c].add(weights[c], four);
            }
        }
        for (int c = 0; c < kColumns; ++c) {
            const std::int64_t lanes = (group * kVectors + c % kVectors) * kLanes;
            const auto scale = V::load(scales[c / kVectors] + lanes);
            const auto min = kMins ? V::load(mins[c / kVectors] + lanes) : V::zero();
            for (int r = 0; r < kRows; ++r) {
                const auto product =
                    V::times(V::less_magic(sums[r][c].total(rows.offsets[r * n_groups + group])), scale);
                total[r][c] =
                    V::add_product(product, rows.scales[(r * n_groups + group) / kGroups], total[r][c]);
                if (kMins) total[r][c] = V::add_product(min, rows.sums[r * n_groups + group], total[r][c]);
            }
        }
    }
    for (int r = 0; r < kRows; ++r) {
        for (int c = 0; c < kColumns; ++c) V::store(total[r][c], out + r * stride + c * kLanes);
    }
}

template <typename V, int kPanels, int kGroups, bool kMins, int kBits>
void multiply_rows(Activations rows, std::int64_t n_rows, std::int64_t n_inputs, const UnpackedPanel* panels,
                   float* out, std::int64_t stride) {
    const auto advance = [&](int count) {
        rows.codes += count * n_inputs;
        rows.scales += count * (n_inputs / kUnit);
        rows.offsets += count * (n_inputs / kUnit * kGroups);
        rows.sums += kMins ? count * (n_inputs / kUnit * kGroups) : 0;
        out += count * stride;
        n_rows -= count;
    };
    while (n_rows >= V::kRows) {
        multiply_tile<V, V::kRows, kPanels, kGroups, kMins, kBits>(rows, n_inputs, panels, out, stride);
        advance(V::kRows);
    }
    while (V::kRows > 2 && n_rows >= 2) {
        multiply_tile<V, 2, kPanels, kGroups, kMins, kBits>(rows, n_inputs, panels, out, stride);
        advance(2);
    }
    while (n_rows > 0) {
        multiply_tile<V, 1, kPanels, kGroups, kMins, kBits>(rows, n_inputs, panels, out, stride);
        advance(1);
    }
}

template <typename V, int kGroups, bool kMins, int kBits>
void multiply_panels(const Activations& rows, std::int64_t n_rows, std::int64_t n_inputs,
                     const UnpackedPanel* panels, int n_panels, float* out, std::int64_t stride) {
    static_assert(V::kPanels <= 3);
    if constexpr (V::kPanels >= 3) {
        for (; n_panels >= 3; n_panels -= 3, panels += 3, out += 3 * kPanel) {
            multiply_rows<V, 3, kGroups, kMins, kBits>(rows, n_rows, n_inputs, panels, out, stride);
        }
    }
    if constexpr (V::kPanels >= 2) {
        for (; n_panels >= 2; n_panels -= 2, panels += 2, out += 2 * kPanel) {
            multiply_rows<V, 2, kGroups, kMins, kBits>(rows, n_rows, n_inputs, panels, out, stride);
        }
    }
    for (; n_panels >= 1; --n_panels, ++panels, out += kPanel) {
        multiply_rows<V, 1, kGroups, kMins, kBits>(rows, n_rows, n_inputs, panels, out, stride);
    }
}

template <typename V>
void multiply(const WeightFormat& format, const Activations& rows, std::int64_t n_rows, std::int64_t n_inputs,
              const UnpackedPanel* panels, int n_panels, float* out, std::int64_t stride) {
    switch (format.type) {
        case WeightType::q8_0:
        case WeightType::iq4_nl:
            multiply_panels<V, 1, false, V::bits(8)>(rows, n_rows, n_inputs, panels, n_panels, out, stride);
            break;
        case WeightType::q4_0:
            multiply_panels<V, 1, false, V::bits(4)>(rows, n_rows, n_inputs, panels, n_panels, out, stride);
            break;
        case WeightType::q5_0:
            multiply_panels<V, 1, false, V::bits(5)>(rows, n_rows, n_inputs, panels, n_panels, out, stride);
            break;
        case WeightType::q4_1:
        case WeightType::q4_k:
            multiply_panels<V, 1, true, V::bits(4)>(rows, n_rows, n_inputs, panels, n_panels, out, stride);
            break;
        case WeightType::q5_1:
        case WeightType::q5_k:
            multiply_panels<V, 1, true, V::bits(5)>(rows, n_rows, n_inputs, panels, n_panels, out, stride);
            break;
        case WeightType::q2_k:
            multiply_panels<V, 2, true, V::bits(4)>(rows, n_rows, n_inputs, panels, n_panels, out, stride);
            break;
        case WeightType::q3_k:
            multiply_panels<V, 2, false, V::bits(4)>(rows, n_rows, n_inputs, panels, n_panels, out, stride);
            break;
        case WeightType::q6_k:
            multiply_panels<V, 2, false, V::bits(6)>(rows, n_rows, n_inputs, panels, n_panels, out, stride);
            break;
    }
}

template <typename V>
void quantise(const WeightFormat& format, const float* row, std::int64_t n_inputs, const Activations& to) {
    const bool is_signed =
        V::kSignedCodes && (format.type == WeightType::q8_0 || format.type == WeightType::iq4_nl);
    quantise_row<V>(format, is_signed ? 0 : format.zero, row, n_inputs, to);
}

}  // namespace
}  // namespace fastplr::kernels
