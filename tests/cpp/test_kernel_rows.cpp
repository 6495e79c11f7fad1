// Attention, norms and activation functions of every variant against their definitions in double precision.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "check.hpp"
#include "ggml.h"
#include "kernels/attention_space.hpp"
#include "kernels/half.hpp"
#include "kernels/variant.hpp"

namespace {

using namespace fastplr::kernels;

template <typename Body>
void for_each_variant(const Body& body) {
    int count = 0;
    const Variant* const* variants = available_variants(count);
    for (int i = 0; i < count; ++i) body(*variants[i]);
}

std::vector<float> random_values(std::size_t count, std::mt19937& generator, float size = 1.0F) {
    std::normal_distribution<float> normal;
    std::vector<float> values(count);
    for (float& value : values) value = size * normal(generator);
    return values;
}

/// Memory at a multiple of 64 bytes, filled with NaN: what is not written is not to be read.
class Space {
  public:
    explicit Space(std::size_t n_floats) : memory_(n_floats + 16, std::numeric_limits<float>::quiet_NaN()) {}
    float* begin() {
        const auto address = reinterpret_cast<std::uintptr_t>(memory_.data());
        return memory_.data() + ((address + 63) / 64 * 64 - address) / sizeof(float);
    }

  private:
    std::vector<float> memory_;
};

struct AttentionCase {
    int n_tokens, n_heads, key_size, value_size, n_keys;
    bool halves, with_mask, with_slopes;
    double seen;  ///< share of the keys that a token sees
};

void check_attention(const AttentionCase& what, std::mt19937& generator) {
    const auto n_tokens = static_cast<std::size_t>(what.n_tokens);
    const auto n_heads = static_cast<std::size_t>(what.n_heads);
    const auto key_size = static_cast<std::size_t>(what.key_size);
    const auto value_size = static_cast<std::size_t>(what.value_size);
    const auto n_keys = static_cast<std::size_t>(what.n_keys);
    const std::vector<float> queries = random_values(n_tokens * n_heads * key_size, generator);
    std::vector<float> keys = random_values(n_keys * key_size, generator);
    std::vector<float> values = random_values(n_keys * value_size, generator);
    std::vector<std::uint16_t> half_keys(keys.size()), half_values(values.size());
    if (what.halves) {
        ggml_fp32_to_fp16_row(keys.data(), half_keys.data(), static_cast<std::int64_t>(keys.size()));
        ggml_fp16_to_fp32_row(half_keys.data(), keys.data(), static_cast<std::int64_t>(keys.size()));
        ggml_fp32_to_fp16_row(values.data(), half_values.data(), static_cast<std::int64_t>(values.size()));
        ggml_fp16_to_fp32_row(half_values.data(), values.data(), static_cast<std::int64_t>(values.size()));
    }
    std::vector<std::uint16_t> mask(n_tokens * n_keys);
    std::bernoulli_distribution sees(what.seen);
    for (std::size_t i = 0; i < mask.size(); ++i) {
        // With slopes a mask holds distances.
        const float distance = what.with_slopes ? -static_cast<float>(i % 7) : 0.0F;
        mask[i] = sees(generator) ? ggml_fp32_to_fp16(distance) : kMasked;
    }
    if (what.n_tokens > 1) std::fill_n(mask.begin(), n_keys, kMasked);  // the first one sees nothing
    std::vector<float> slopes = random_values(n_heads, generator);
    for (float& slope : slopes) slope = std::abs(slope);
    constexpr float kScale = 0.3F;

    std::vector<double> expected(n_tokens * n_heads * value_size, 0.0);
    for (std::size_t t = 0; t < n_tokens; ++t) {
        for (std::size_t h = 0; h < n_heads; ++h) {
            std::vector<double> weights(n_keys, 0.0);
            double sum = 0.0;
            for (std::size_t k = 0; k < n_keys; ++k) {
                if (what.with_mask && mask[t * n_keys + k] == kMasked) continue;
                double score = 0.0;
                for (std::size_t i = 0; i < key_size; ++i) {
                    score += static_cast<double>(queries[(h * n_tokens + t) * key_size + i]) *
                             static_cast<double>(keys[k * key_size + i]);
                }
                score *= static_cast<double>(kScale);
                if (what.with_mask) {
                    score += static_cast<double>(half_to_float(mask[t * n_keys + k])) *
                             (what.with_slopes ? static_cast<double>(slopes[h]) : 1.0);
                }
                weights[k] = std::exp(score);
                sum += weights[k];
            }
            for (std::size_t k = 0; k < n_keys && sum > 0.0; ++k) {
                for (std::size_t i = 0; i < value_size; ++i) {
                    expected[(t * n_heads + h) * value_size + i] +=
                        weights[k] / sum * static_cast<double>(values[k * value_size + i]);
                }
            }
        }
    }

    for_each_variant([&](const Variant& variant) {
        Space space(static_cast<std::size_t>(AttentionSpace(what.n_tokens * what.n_heads, what.key_size,
                                                            what.value_size, what.n_tokens, what.n_keys)
                                                 .size));
        std::vector<float> out(expected.size(), std::numeric_limits<float>::quiet_NaN());
        AttentionTile tile{};
        tile.n_tokens = what.n_tokens;
        tile.n_heads = what.n_heads;
        tile.key_size = what.key_size;
        tile.value_size = what.value_size;
        tile.first_key = 0;
        tile.end_key = what.n_keys;
        tile.queries = reinterpret_cast<const char*>(queries.data());
        tile.query_token_stride = key_size * sizeof(float);
        tile.query_head_stride = n_tokens * key_size * sizeof(float);
        tile.halves = what.halves;
        tile.keys = what.halves ? reinterpret_cast<const char*>(half_keys.data())
                                : reinterpret_cast<const char*>(keys.data());
        tile.values = what.halves ? reinterpret_cast<const char*>(half_values.data())
                                  : reinterpret_cast<const char*>(values.data());
        const std::size_t value_bytes = what.halves ? sizeof(std::uint16_t) : sizeof(float);
        tile.key_stride = key_size * value_bytes;
        tile.value_stride = value_size * value_bytes;
        tile.mask = what.with_mask ? reinterpret_cast<const char*>(mask.data()) : nullptr;
        tile.mask_stride = n_keys * sizeof(std::uint16_t);
        tile.slopes = what.with_slopes ? slopes.data() : nullptr;
        tile.scale = kScale;
        tile.out = reinterpret_cast<char*>(out.data());
        tile.out_token_stride = n_heads * value_size * sizeof(float);
        tile.out_head_stride = value_size * sizeof(float);
        tile.space = space.begin();
        variant.attend(tile);
        for (std::size_t i = 0; i < out.size(); ++i)
            CHECK_NEAR(static_cast<double>(out[i]), expected[i], 2e-5 * (1.0 + std::abs(expected[i])));
    });
}

}  // namespace

TEST_CASE("attention is the weighted mean of the values that a token sees") {
    std::mt19937 generator(1);
    for (int trial = 0; trial < 60; ++trial) {
        const auto draw = [&](int least, int most) {
            return least + static_cast<int>(generator() % static_cast<unsigned>(most - least + 1));
        };
        AttentionCase what{};
        what.n_tokens = draw(1, 13);
        what.n_heads = draw(1, 5);
        what.key_size = 16 * draw(1, 5);
        what.value_size = 16 * draw(1, 5);
        // More than a block of keys, now and then.
        what.n_keys = trial % 3 == 0 ? draw(1, 3 * kKeyBlock) : draw(1, 70);
        what.halves = trial % 2 == 0;
        what.with_mask = trial % 5 != 0;
        what.with_slopes = what.with_mask && trial % 4 == 0;
        what.seen = trial % 7 == 0 ? 0.02 : 0.6;
        check_attention(what, generator);
    }
}

TEST_CASE("norms") {
    std::mt19937 generator(2);
    for (int trial = 0; trial < 40; ++trial) {
        const auto n = 16 * (1 + static_cast<std::size_t>(generator() % 20));
        const std::vector<float> x = random_values(n, generator, trial % 8 == 0 ? 1e-3F : 3.0F);
        const std::vector<float> second = random_values(n, generator), bias = random_values(n, generator);
        const std::vector<float> weight = random_values(n, generator), shift = random_values(n, generator);
        const bool centred = trial % 2 == 0, summed = trial % 3 != 0, weighted = trial % 5 != 0;
        const NormParameters by = {centred, 1e-5F, weighted ? weight.data() : nullptr,
                                   weighted && centred ? shift.data() : nullptr};
        std::vector<double> sums(n);
        double mean = 0.0, square = 0.0;
        for (std::size_t i = 0; i < n; ++i) {
            sums[i] = x[i] + (summed ? static_cast<double>(second[i]) + static_cast<double>(bias[i]) : 0.0);
            mean += sums[i] / static_cast<double>(n);
        }
        if (!centred) mean = 0.0;
        for (const double sum : sums) square += (sum - mean) * (sum - mean) / static_cast<double>(n);
        for_each_variant([&](const Variant& variant) {
            std::vector<float> out = x;  // in place
            const RowInput in = {out.data(), summed ? second.data() : nullptr,
                                 summed ? bias.data() : nullptr};
            variant.norm(by, in, static_cast<int>(n), out.data());
            for (std::size_t i = 0; i < n; ++i) {
                double expected = (sums[i] - mean) / std::sqrt(square + 1e-5);
                if (weighted) expected *= static_cast<double>(weight[i]);
                if (weighted && centred) expected += static_cast<double>(shift[i]);
                CHECK_NEAR(static_cast<double>(out[i]), expected, 2e-5 * (1.0 + std::abs(expected)));
            }
            std::vector<float> added(n);
            variant.add(in, static_cast<int>(n), added.data());
            CHECK(std::isfinite(added[0]));
        });
    }
}

TEST_CASE("pairs are turned by their angles") {
    std::mt19937 generator(5);
    for (const int n : {32, 64, 96, 128}) {
        const auto size = static_cast<std::size_t>(n);
        const std::vector<float> x = random_values(size, generator),
                                 angles = random_values(size / 2, generator, 9.0F);
        for (const bool halves : {false, true}) {
            std::vector<float> cosines(size), sines(size);
            std::vector<double> expected(size);
            for (std::size_t i = 0; i < size / 2; ++i) {
                const double c = std::cos(static_cast<double>(angles[i])),
                             s = std::sin(static_cast<double>(angles[i]));
                const std::size_t first = halves ? i : 2 * i, second = halves ? i + size / 2 : 2 * i + 1;
                expected[first] = static_cast<double>(x[first]) * c - static_cast<double>(x[second]) * s;
                expected[second] = static_cast<double>(x[first]) * s + static_cast<double>(x[second]) * c;
                if (halves) {
                    cosines[i] = static_cast<float>(c);
                    sines[i] = static_cast<float>(s);
                } else {
                    cosines[first] = cosines[second] = static_cast<float>(c);
                    sines[first] = static_cast<float>(-s);
                    sines[second] = static_cast<float>(s);
                }
            }
            for_each_variant([&](const Variant& variant) {
                std::vector<float> out = x;  // in place
                variant.turn(out.data(), cosines.data(), sines.data(), n, halves, out.data());
                for (std::size_t i = 0; i < size; ++i)
                    CHECK_NEAR(static_cast<double>(out[i]), expected[i],
                               1e-6 * (1.0 + std::abs(expected[i])));
            });
        }
    }
}

TEST_CASE("activation functions, from far below to far above") {
    std::vector<float> x = {0.0F,  -0.0F,  1e-30F, -1e-30F, 1.0F, -1.0F, 5.0F,  -5.0F,
                            20.0F, -20.0F, 87.5F,  -87.5F,  1e4F, -1e4F, 3e38F, -3e38F};
    for (int i = 0; i < 1008; ++i) x.push_back(static_cast<float>(i - 504) / 32.0F);
    std::mt19937 generator(3);
    const std::vector<float> factor = random_values(x.size(), generator),
                             bias = random_values(x.size(), generator);
    for (const ActivationKind kind : {ActivationKind::silu, ActivationKind::gelu}) {
        for (const bool full : {false, true}) {
            for_each_variant([&](const Variant& variant) {
                std::vector<float> out(x.size());
                variant.activate(kind, {x.data(), nullptr, full ? bias.data() : nullptr},
                                 full ? factor.data() : nullptr, static_cast<int>(x.size()), out.data());
                for (std::size_t i = 0; i < x.size(); ++i) {
                    const double at = static_cast<double>(full ? x[i] + bias[i] : x[i]);
                    const double u = std::sqrt(2.0 / std::acos(-1.0)) * (at + 0.044715 * at * at * at);
                    double expected = kind == ActivationKind::silu ? at / (1.0 + std::exp(-at))
                                                                   : 0.5 * at * (1.0 + std::tanh(u));
                    if (full) expected *= static_cast<double>(factor[i]);
                    if (!std::isfinite(static_cast<float>(expected))) continue;
                    // 1 + tanh loses what is left of it far below, in double precision too
                    CHECK_NEAR(static_cast<double>(out[i]), expected, 2e-6 * std::abs(expected) + 1e-7);
                }
            });
        }
    }
}

TEST_CASE("values that are not finite stay what they are") {
    const float nan = std::numeric_limits<float>::quiet_NaN(),
                infinity = std::numeric_limits<float>::infinity();
    for_each_variant([&](const Variant& variant) {
        std::vector<float> x(32, 1.0F), out(32);
        x[3] = nan;
        x[5] = infinity;
        x[6] = -infinity;
        for (const ActivationKind kind : {ActivationKind::silu, ActivationKind::gelu}) {
            variant.activate(kind, {x.data(), nullptr, nullptr}, nullptr, 32, out.data());
            CHECK(std::isnan(out[3]));
            CHECK(out[5] == infinity);
            CHECK(out[6] == 0.0F);
            CHECK(std::isfinite(out[4]));
        }
        variant.norm({true, 1e-5F, nullptr, nullptr}, {x.data(), nullptr, nullptr}, 32, out.data());
        CHECK(std::isnan(out[0]));
    });
}

TEST_CASE("attention is NaN for a query or a seen key that is not finite, and for no other token") {
    const float nan = std::numeric_limits<float>::quiet_NaN(),
                infinity = std::numeric_limits<float>::infinity();
    std::uint32_t bits = 0x7fc00001U;  // a NaN whose last bits are not 0
    float other_nan;
    std::memcpy(&other_nan, &bits, sizeof other_nan);
    constexpr int kSize = 16, kTokens = 3, kKeys = 20;
    for (const float value : {nan, other_nan, infinity}) {
        for (const bool of_key : {false, true}) {
            std::vector<float> queries(kTokens * kSize, 0.0F), keys(kKeys * kSize, 0.5F),
                values(kKeys * kSize, 1.0F);
            for (int t = 0; t < kTokens; ++t) queries[static_cast<std::size_t>(t * kSize)] = 1.0F;
            // Key 17 is the second token's alone.
            std::vector<std::uint16_t> mask(kTokens * kKeys, 0);
            mask[17] = mask[2 * kKeys + 17] = kMasked;
            if (of_key) {
                keys[17 * kSize + 3] = value;  // times a query of 0: NaN for infinity too
            } else {
                queries[kSize + 2] = value;
            }
            for_each_variant([&](const Variant& variant) {
                Space space(
                    static_cast<std::size_t>(AttentionSpace(kTokens, kSize, kSize, kTokens, kKeys).size));
                std::vector<float> out(kTokens * kSize);
                AttentionTile tile{};
                tile.n_tokens = kTokens;
                tile.n_heads = 1;
                tile.key_size = tile.value_size = kSize;
                tile.end_key = kKeys;
                tile.queries = reinterpret_cast<const char*>(queries.data());
                tile.keys = reinterpret_cast<const char*>(keys.data());
                tile.values = reinterpret_cast<const char*>(values.data());
                tile.query_token_stride = tile.key_stride = tile.value_stride = kSize * sizeof(float);
                tile.mask = reinterpret_cast<const char*>(mask.data());
                tile.mask_stride = kKeys * sizeof(std::uint16_t);
                tile.scale = 1.0F;
                tile.out = reinterpret_cast<char*>(out.data());
                tile.out_token_stride = tile.out_head_stride = kSize * sizeof(float);
                tile.space = space.begin();
                variant.attend(tile);
                CHECK(std::isnan(out[kSize]));
                if (!of_key) CHECK(std::isfinite(out[0]) && std::isfinite(out[2 * kSize]));
            });
        }
    }
}
