// Kernels against the definition of the weights, against ggml's own decoding, and against one another: random
// matrices of every type, random shapes, and activations that are zero, tiny, huge or not finite.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "check.hpp"
#include "ggml.h"
#include "kernels/half.hpp"
#include "kernels/packed_weights.hpp"
#include "kernels/variant.hpp"

namespace {

using namespace fastplr::kernels;

constexpr WeightType kTypes[] = {WeightType::q8_0, WeightType::q4_0,   WeightType::q4_1, WeightType::q5_0,
                                 WeightType::q5_1, WeightType::iq4_nl, WeightType::q2_k, WeightType::q3_k,
                                 WeightType::q4_k, WeightType::q5_k,   WeightType::q6_k};

ggml_type ggml_type_of(const WeightFormat& format) {
    for (int type = 0; type < GGML_TYPE_COUNT; ++type) {
        std::string name = ggml_type_name(static_cast<ggml_type>(type));
        std::transform(name.begin(), name.end(), name.begin(),
                       [](unsigned char c) { return std::toupper(c); });
        if (name == format.name) return static_cast<ggml_type>(type);
    }
    return GGML_TYPE_COUNT;
}

/// A matrix of a file, and what it means.
struct Matrix {
    std::vector<std::uint8_t> file;
    std::vector<float> values;  // by ggml
    std::vector<std::uint8_t> panels;
};

Matrix random_matrix(const WeightFormat& format, std::int64_t n_outputs, std::int64_t n_inputs,
                     std::mt19937& generator) {
    std::normal_distribution<float> normal;
    std::vector<float> values(static_cast<std::size_t>(n_outputs * n_inputs));
    for (float& value : values) value = 0.1F * normal(generator);
    const ggml_type type = ggml_type_of(format);
    Matrix matrix;
    matrix.file.resize(ggml_row_size(type, n_inputs) * static_cast<std::size_t>(n_outputs));
    ggml_quantize_chunk(type, values.data(), matrix.file.data(), 0, n_outputs, n_inputs, nullptr);
    matrix.values.resize(values.size());
    ggml_get_type_traits(type)->to_float(matrix.file.data(), matrix.values.data(), n_outputs * n_inputs);
    matrix.panels.resize(packed_bytes(format, n_outputs, n_inputs));
    // At an odd address: tensors of a file need not be aligned.
    std::vector<std::uint8_t> shifted(matrix.file.size() + 1);
    std::memcpy(shifted.data() + 1, matrix.file.data(), matrix.file.size());
    pack(format, shifted.data() + 1, n_outputs, n_inputs, matrix.panels.data());
    return matrix;
}

/// Activations of some rows, and the memory they lie in.
struct Rows {
    std::vector<std::int8_t> codes;
    std::vector<float> scales, sums;
    std::vector<std::int32_t> offsets;

    Rows(const WeightFormat& format, std::int64_t n_rows, std::int64_t n_inputs)
        : codes(static_cast<std::size_t>(n_rows * n_inputs)),
          scales(static_cast<std::size_t>(n_rows * n_inputs / kUnit)),
          sums(scales.size() * static_cast<std::size_t>(format.n_groups)),
          offsets(sums.size()) {}

    Activations from(const WeightFormat& format, std::int64_t row, std::int64_t n_inputs) {
        const std::int64_t unit = row * n_inputs / kUnit;
        return {codes.data() + row * n_inputs, scales.data() + unit, offsets.data() + unit * format.n_groups,
                sums.data() + unit * format.n_groups};
    }
};

Rows quantised(const Variant& variant, const WeightFormat& format, const std::vector<float>& activations,
               std::int64_t n_inputs) {
    const auto n_rows = static_cast<std::int64_t>(activations.size()) / n_inputs;
    Rows rows(format, n_rows, n_inputs);
    for (std::int64_t row = 0; row < n_rows; ++row) {
        variant.quantise(format, activations.data() + row * n_inputs, n_inputs,
                         rows.from(format, row, n_inputs));
    }
    return rows;
}

/// The product by a variant, [n_rows][16 * n_panels].
std::vector<float> product(const Variant& variant, const WeightFormat& format, const Matrix& matrix,
                           std::int64_t n_outputs, std::int64_t n_inputs,
                           const std::vector<float>& activations) {
    const auto n_rows = static_cast<std::int64_t>(activations.size()) / n_inputs;
    Rows rows = quantised(variant, format, activations, n_inputs);
    const std::int64_t n_panels = (n_outputs + kPanel - 1) / kPanel;
    std::vector<float> out(static_cast<std::size_t>(n_rows * n_panels * kPanel), -1e30F);
    for (std::int64_t first = 0; first < n_panels; first += variant.n_panels) {
        const int count = static_cast<int>(std::min<std::int64_t>(variant.n_panels, n_panels - first));
        std::vector<std::vector<std::uint8_t>> codes;
        std::vector<std::vector<float>> scales, mins;
        std::vector<UnpackedPanel> panels;
        for (int p = 0; p < count; ++p) {
            const auto n_scales = static_cast<std::size_t>(n_inputs / kUnit * format.n_groups * kPanel);
            codes.emplace_back(static_cast<std::size_t>(n_inputs * kPanel));
            scales.emplace_back(n_scales);
            mins.emplace_back(n_scales);
            panels.push_back({codes.back().data(), scales.back().data(), mins.back().data()});
            variant.unpack(
                format,
                matrix.panels.data() + static_cast<std::size_t>(first + p) * format.panel_bytes(n_inputs),
                n_inputs, panels.back());
        }
        variant.multiply(format, rows.from(format, 0, n_inputs), n_rows, n_inputs, panels.data(), count,
                         out.data() + first * kPanel, n_panels * kPanel);
    }
    return out;
}

template <typename Body>
void for_each_variant(const Body& body) {
    int count = 0;
    const Variant* const* variants = available_variants(count);
    for (int i = 0; i < count; ++i) body(*variants[i]);
}

std::vector<float> random_activations(std::int64_t count, std::mt19937& generator) {
    std::normal_distribution<float> normal;
    std::vector<float> values(static_cast<std::size_t>(count));
    for (float& value : values) value = normal(generator) * std::exp(2.0F * normal(generator));
    return values;
}

}  // namespace

TEST_CASE("packed weights mean what the file says") {
    std::mt19937 generator(1);
    for (const WeightType type : kTypes) {
        const WeightFormat& format = format_of(type);
        CHECK(ggml_type_of(format) != GGML_TYPE_COUNT);
        for (const std::int64_t n_outputs : {1, 16, 37}) {
            const std::int64_t n_inputs = 2 * 256;
            const Matrix matrix = random_matrix(format, n_outputs, n_inputs, generator);
            std::vector<float> row(static_cast<std::size_t>(n_inputs));
            for (std::int64_t output = 0; output < n_outputs; ++output) {
                unpack_row(format, matrix.panels.data(), output, n_inputs, row.data());
                for (std::int64_t i = 0; i < n_inputs; ++i) {
                    const float expected = matrix.values[static_cast<std::size_t>(output * n_inputs + i)];
                    CHECK_NEAR(row[static_cast<std::size_t>(i)], expected,
                               1e-6 * (0.01 + std::abs(expected)));
                }
            }
        }
    }
}

TEST_CASE("packed weights take at most 4 % more memory than the file, whole panels given") {
    for (const WeightType type : kTypes) {
        const WeightFormat& format = format_of(type);
        const double file = static_cast<double>(format.file_bytes) * 64 * (1024.0 / format.n_block);
        CHECK(static_cast<double>(packed_bytes(format, 64, 1024)) <= 1.04 * file);
    }
}

TEST_CASE("half floats are widened exactly") {
    for (std::uint32_t bits = 0; bits < 65536; ++bits) {
        const auto half = static_cast<std::uint16_t>(bits);
        const float expected = ggml_fp16_to_fp32(half);
        const float found = half_to_float(half);
        CHECK((std::isnan(expected) && std::isnan(found)) ||
              std::memcmp(&expected, &found, sizeof found) == 0);
    }
}

TEST_CASE("every variant computes the product of every type, whatever the shape") {
    std::mt19937 generator(2);
    for (const WeightType type : kTypes) {
        const WeightFormat& format = format_of(type);
        for (int trial = 0; trial < 12; ++trial) {
            const std::int64_t n_rows = 1 + static_cast<std::int64_t>(generator() % 11);
            const std::int64_t n_outputs = 1 + static_cast<std::int64_t>(generator() % 120);
            const std::int64_t n_inputs = format.n_block * (1 + static_cast<std::int64_t>(generator() % 3));
            const Matrix matrix = random_matrix(format, n_outputs, n_inputs, generator);
            const std::vector<float> activations = random_activations(n_rows * n_inputs, generator);
            Rows rows = quantised(reference_variant(), format, activations, n_inputs);
            const std::int64_t width = (n_outputs + kPanel - 1) / kPanel * kPanel;
            for_each_variant([&](const Variant& variant) {
                const std::vector<float> out =
                    product(variant, format, matrix, n_outputs, n_inputs, activations);
                for (std::int64_t r = 0; r < n_rows; ++r) {
                    for (std::int64_t o = 0; o < n_outputs; ++o) {
                        double expected = 0.0, size = 0.0, rounding = 0.0;
                        for (std::int64_t i = 0; i < n_inputs; ++i) {
                            const double weight = matrix.values[static_cast<std::size_t>(o * n_inputs + i)];
                            const auto at = static_cast<std::size_t>(r * n_inputs + i);
                            const double scale = rows.scales[at / kUnit];
                            expected += weight * scale * rows.codes[at];
                            size += std::abs(weight * scale * rows.codes[at]);
                            rounding += std::abs(weight) * (0.5001 * scale);
                            CHECK(std::abs(scale * rows.codes[at] - activations[at]) <= 0.5001 * scale);
                        }
                        const double found = out[static_cast<std::size_t>(r * width + o)];
                        CHECK_NEAR(found, expected, 1e-5 * (size + rounding));
                    }
                }
            });
        }
    }
}

TEST_CASE("all variants quantise alike") {
    std::mt19937 generator(3);
    const WeightFormat& format = format_of(WeightType::q6_k);
    const std::vector<float> activations = random_activations(1 << 20, generator);
    const Rows expected =
        quantised(reference_variant(), format, activations, 256);  // enough for products near a tie
    for_each_variant([&](const Variant& variant) {
        const Rows rows = quantised(variant, format, activations, 256);
        CHECK(rows.codes == expected.codes);
        CHECK(rows.scales == expected.scales);
        CHECK(rows.offsets == expected.offsets);
    });
}

TEST_CASE("codes at their limits do not overflow") {
    for (const WeightType type : kTypes) {
        const WeightFormat& format = format_of(type);
        const std::int64_t n_inputs = 256, n_outputs = 16;
        for (const int byte : {0x00, 0xff, 0x7f, 0x80}) {
            Matrix matrix;
            matrix.file.assign(
                static_cast<std::size_t>(n_outputs * n_inputs / format.n_block * format.file_bytes),
                static_cast<std::uint8_t>(byte));
            // Scales of 1, wherever they lie.
            for (std::size_t at = 0; at < matrix.file.size();
                 at += static_cast<std::size_t>(format.file_bytes)) {
                const bool last = type == WeightType::q6_k || type == WeightType::q3_k;
                const std::size_t d = type == WeightType::q2_k ? 80
                                      : last ? static_cast<std::size_t>(format.file_bytes) - 2
                                             : 0;
                const std::uint16_t one = ggml_fp32_to_fp16(1.0F);
                std::memcpy(&matrix.file[at + d], &one, 2);
                if (format.mins) std::memcpy(&matrix.file[at + d + 2], &one, 2);
            }
            matrix.values.resize(static_cast<std::size_t>(n_outputs * n_inputs));
            ggml_get_type_traits(ggml_type_of(format))
                ->to_float(matrix.file.data(), matrix.values.data(), n_outputs * n_inputs);
            matrix.panels.resize(packed_bytes(format, n_outputs, n_inputs));
            pack(format, matrix.file.data(), n_outputs, n_inputs, matrix.panels.data());
            for (const float value : {1.0F, -1.0F}) {
                const std::vector<float> activations(static_cast<std::size_t>(n_inputs), value);
                for_each_variant([&](const Variant& variant) {
                    const std::vector<float> out =
                        product(variant, format, matrix, n_outputs, n_inputs, activations);
                    double expected = 0.0;
                    for (std::int64_t i = 0; i < n_inputs; ++i) {
                        expected += static_cast<double>(value) * matrix.values[static_cast<std::size_t>(i)];
                    }
                    CHECK_NEAR(out[0], expected, 1e-4 * (std::abs(expected) + 1.0));
                });
            }
        }
    }
}

TEST_CASE("values that are not finite spoil their row alone, tiny ones are zero") {
    std::mt19937 generator(4);
    for (const WeightType type : kTypes) {
        const WeightFormat& format = format_of(type);
        const std::int64_t n_inputs = 512, n_outputs = 20, n_rows = 6, width = 32;
        const Matrix matrix = random_matrix(format, n_outputs, n_inputs, generator);
        std::vector<float> activations = random_activations(n_rows * n_inputs, generator);
        activations[static_cast<std::size_t>(1 * n_inputs + 40)] = std::numeric_limits<float>::quiet_NaN();
        activations[static_cast<std::size_t>(2 * n_inputs + 41)] = std::numeric_limits<float>::infinity();
        activations[static_cast<std::size_t>(3 * n_inputs + 42)] = -std::numeric_limits<float>::infinity();
        for (std::int64_t i = 0; i < n_inputs; ++i) {
            activations[static_cast<std::size_t>(4 * n_inputs + i)] = i % 2 == 0 ? 1e-40F : 0.0F;
            activations[static_cast<std::size_t>(5 * n_inputs + i)] = i % 2 == 0 ? 3e38F : 1.0F;
        }
        for_each_variant([&](const Variant& variant) {
            const std::vector<float> out = product(variant, format, matrix, n_outputs, n_inputs, activations);
            for (std::int64_t o = 0; o < n_outputs; ++o) {
                CHECK(std::isfinite(out[static_cast<std::size_t>(o)]));
                for (std::int64_t r = 1; r <= 3; ++r)
                    CHECK(std::isnan(out[static_cast<std::size_t>(r * width + o)]));
                CHECK(out[static_cast<std::size_t>(4 * width + o)] == 0.0F);
                const float huge = out[static_cast<std::size_t>(5 * width + o)];
                CHECK(!std::isfinite(huge) || std::abs(huge) > 1e30F);
            }
        });
    }
}
