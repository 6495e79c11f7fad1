// Attention of neighbouring tokens over the keys that one of them sees. As tile.hpp: included by one source
// file for each instruction set.
//
// A batch holds many short texts, and a text sees its own tokens and a shared prompt: of the square of all
// tokens and all keys nearly everything is masked. Keys that no token of a tile sees are left out here, so
// that what remains is a small matrix, and the mask matters within it alone.
#pragma once

#include "attention_space.hpp"
#include "vector_math.hpp"

namespace fastplr::kernels {
namespace {

constexpr std::uint32_t kMinusInfinity = 0xff800000U;

/// Value `i` of a row of halves or floats.
template <typename V>
typename V::Floats load_values(const char* row, bool halves, int i) {
    return halves ? V::load_halves(reinterpret_cast<const std::uint16_t*>(row) + i)
                  : V::load(reinterpret_cast<const float*>(row) + i);
}

/// The mask of a token.
inline const std::uint16_t* mask_row(const AttentionTile& tile, int token) {
    return reinterpret_cast<const std::uint16_t*>(tile.mask +
                                                  static_cast<std::size_t>(token) * tile.mask_stride);
}

/// The keys that a token of the tile sees, in their order; their number.
inline int seen_keys(const AttentionTile& tile, std::uint16_t* seen, std::int32_t* columns) {
    const int begin = tile.first_key, n_keys = tile.end_key - begin;
    int count = 0;
    if (tile.mask == nullptr) {
        for (int i = 0; i < n_keys; ++i) columns[count++] = begin + i;
        return count;
    }
    for (int i = 0; i < n_keys; ++i) seen[i] = 0;
    for (int t = 0; t < tile.n_tokens; ++t) {
        const std::uint16_t* row = mask_row(tile, t) + begin;
        for (int i = 0; i < n_keys; ++i) seen[i] = static_cast<std::uint16_t>(seen[i] | (row[i] ^ kMasked));
    }
    for (int i = 0; i < n_keys; ++i) {
        columns[count] = begin + i;
        count += seen[i] != 0 ? 1 : 0;
    }
    return count;
}

/// Some keys, and zeros up to whole vectors: keys to [key_size][kKeyBlock], values to
/// [kKeyBlock][value_size].
template <typename V>
void gather_keys(const AttentionTile& tile, const std::int32_t* columns, int count, float* keys,
                 float* values) {
    for (int first = 0; first < count; first += V::kWidth) {
        const char* rows[V::kWidth];
        for (int i = 0; i < V::kWidth; ++i) {
            const int column = columns[first + i < count ? first + i : count - 1];
            rows[i] = tile.keys + static_cast<std::size_t>(column) * tile.key_stride;
        }
        for (int k = 0; k < tile.key_size; k += V::kWidth) {
            typename V::Floats square[V::kWidth];
            for (int i = 0; i < V::kWidth; ++i) square[i] = load_values<V>(rows[i], tile.halves, k);
            transpose<V>(square);
            for (int i = 0; i < V::kWidth; ++i) V::store(square[i], keys + (k + i) * kKeyBlock + first);
        }
    }
    for (int j = 0; j < count; ++j) {
        const char* row = tile.values + static_cast<std::size_t>(columns[j]) * tile.value_stride;
        for (int k = 0; k < tile.value_size; k += V::kWidth)
            V::store(load_values<V>(row, tile.halves, k), values + j * tile.value_size + k);
    }
}

/// The mask of these keys for each token, [n_tokens][kKeyBlock], up to whole vectors; and for each token how
/// many of them, from the first on, hold all that it sees.
template <typename V>
void gather_mask(const AttentionTile& tile, const std::int32_t* columns, int count, float* mask,
                 std::int32_t* n_seen) {
    const float masked = bits_of<float>(kMinusInfinity);
    for (int t = 0; t < tile.n_tokens; ++t, mask += kKeyBlock) {
        const std::uint16_t* row = tile.mask == nullptr ? nullptr : mask_row(tile, t);
        int j = 0;
        while (j < count) {
            if (row != nullptr && j + V::kWidth <= count &&
                columns[j + V::kWidth - 1] == columns[j] + V::kWidth - 1) {
                V::store(V::load_halves(row + columns[j]), mask + j);
                j += V::kWidth;
            } else {
                mask[j] = row == nullptr ? 0.0F : half_to_float(row[columns[j]]);
                ++j;
            }
        }
        for (; j % V::kWidth != 0; ++j) mask[j] = masked;
        n_seen[t] = count;
        while (n_seen[t] > 0 && mask[n_seen[t] - 1] == masked) --n_seen[t];
    }
}

/// Scores of a row, scaled and masked; the largest of them and `most`.
template <typename V>
float mask_scores(float* scores, const float* mask, int n_columns, float scale, float slope, float most) {
    using Floats = typename V::Floats;
    const Floats by = V::set(scale), slopes = V::set(slope);
    Floats largest = V::set(most);
    for (int c = 0; c < n_columns; ++c) {
        const Floats score =
            V::fma(V::load(scores + c * V::kWidth), by, V::load(mask + c * V::kWidth) * slopes);
        V::store(score, scores + c * V::kWidth);
        largest = V::max(largest, score);
    }
    return V::largest(largest);
}

/// Scores of a row to e^(score - most); their sum.
template <typename V>
float exponentials(float* scores, int n_columns, float most) {
    // Where nothing is seen, minus infinity is taken off itself: any number makes zeros of it.
    const auto shift = V::set(most == bits_of<float>(kMinusInfinity) ? 0.0F : most);
    auto total = V::zero();
    for (int c = 0; c < n_columns; ++c) {
        const auto weight = exp<V>(V::load(scores + c * V::kWidth) - shift);
        V::store(weight, scores + c * V::kWidth);
        total = total + weight;
    }
    return V::total(total);
}

/// Before a row has a larger `most`: what was added up so far, with the new one.
template <typename V>
void rescale(float* out, int size, float& sum, float before, float most) {
    if (before == most || sum == 0.0F) return;
    float factor[V::kWidth];
    V::store(exp<V>(V::set(before - most)), factor);
    sum *= factor[0];
    for (int k = 0; k < size; k += V::kWidth) V::store(V::load(out + k) * V::set(factor[0]), out + k);
}

template <typename V>
void attend(const AttentionTile& tile) {
    const int n_rows = tile.n_tokens * tile.n_heads;
    const AttentionSpace space(n_rows, tile.key_size, tile.value_size, tile.n_tokens,
                               tile.end_key - tile.first_key);
    float* const scores = tile.space;
    float* const keys = scores + space.keys;
    float* const values = scores + space.values;
    float* const out = scores + space.out;
    float* const mask = scores + space.mask;
    float* const most = scores + space.most;
    float* const sums = scores + space.sums;
    const auto queries = reinterpret_cast<const float**>(scores + space.pointers);
    const float** const weights = queries + space.rows;
    auto* const columns = reinterpret_cast<std::int32_t*>(scores + space.columns);
    auto* const n_seen = reinterpret_cast<std::int32_t*>(scores + space.n_seen);
    auto* const seen = reinterpret_cast<std::uint16_t*>(scores + space.seen);

    for (int r = 0; r < space.rows; ++r) {  // rows that fill up the last tile repeat the last one
        const int row = r < n_rows ? r : n_rows - 1;
        queries[r] = reinterpret_cast<const float*>(
            tile.queries + static_cast<std::size_t>(row % tile.n_tokens) * tile.query_token_stride +
            static_cast<std::size_t>(row / tile.n_tokens) * tile.query_head_stride);
        weights[r] = scores + r * kKeyBlock;
        most[r] = bits_of<float>(kMinusInfinity);
        sums[r] = 0.0F;
    }
    for (int i = 0; i < space.rows * tile.value_size; i += V::kWidth) V::store(V::zero(), out + i);

    const int n_keys = seen_keys(tile, seen, columns);
    for (int first = 0; first < n_keys; first += kKeyBlock) {
        const int count = n_keys - first < kKeyBlock ? n_keys - first : kKeyBlock;
        gather_keys<V>(tile, columns + first, count, keys, values);
        gather_mask<V>(tile, columns + first, count, mask, n_seen);
        for (int begin = 0; begin < space.rows; begin += V::kFloatRows) {
            // Rows that are multiplied together: with a causal mask the first tokens see fewer keys.
            int seen_here = 0;
            for (int r = begin; r < begin + V::kFloatRows; ++r) {
                const int row_seen = n_seen[(r < n_rows ? r : n_rows - 1) % tile.n_tokens];
                seen_here = row_seen > seen_here ? row_seen : seen_here;
            }
            const int n_columns = (seen_here + V::kWidth - 1) / V::kWidth;
            multiply_floats<V, false>(queries + begin, tile.key_size, keys, kKeyBlock, n_columns,
                                      scores + begin * kKeyBlock, kKeyBlock);
            const int end = begin + V::kFloatRows < n_rows ? begin + V::kFloatRows : n_rows;
            for (int r = begin; r < end; ++r) {
                const float slope = tile.slopes == nullptr ? 1.0F : tile.slopes[r / tile.n_tokens];
                const float before = most[r];
                most[r] = mask_scores<V>(scores + r * kKeyBlock, mask + r % tile.n_tokens * kKeyBlock,
                                         n_columns, tile.scale, slope, before);
                rescale<V>(out + r * tile.value_size, tile.value_size, sums[r], before, most[r]);
            }
            for (int r = begin; r < end; ++r) {
                sums[r] += exponentials<V>(scores + r * kKeyBlock, n_columns, most[r]);
            }
            multiply_floats<V, true>(weights + begin, seen_here, values, tile.value_size,
                                     tile.value_size / V::kWidth, out + begin * tile.value_size,
                                     tile.value_size);
        }
    }
    for (int r = 0; r < n_rows; ++r) {
        auto* to = reinterpret_cast<float*>(
            tile.out + static_cast<std::size_t>(r % tile.n_tokens) * tile.out_token_stride +
            static_cast<std::size_t>(r / tile.n_tokens) * tile.out_head_stride);
        const auto factor = V::set(sums[r] == 0.0F ? 0.0F : 1.0F / sums[r]);
        for (int k = 0; k < tile.value_size; k += V::kWidth)
            V::store(V::load(out + r * tile.value_size + k) * factor, to + k);
    }
}

}  // namespace
}  // namespace fastplr::kernels
