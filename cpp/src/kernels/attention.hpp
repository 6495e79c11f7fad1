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

/// Some keys, and zeros up to whole vectors: keys to [key_size][kKeyBlock], values to [kKeyBlock][value_size].
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

/// The mask of these keys for each token, [n_tokens][kKeyBlock], up to whole vectors.
template <typename V>
void gather_mask(const AttentionTile& tile, const std::int32_t* columns, int count, float* mask) {
    const float masked = bits_of<float>(0xff800000U);  // minus infinity
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
    }
}

/// Scores of a row to e^(score - most), `most` being the largest so far; the sum of these is added to `sum`.
/// What was added before is to be multiplied by what is returned.
template <typename V>
float exponentials(float* scores, const float* mask, int n_columns, float scale, float slope, float& most,
                   float& sum) {
    using Floats = typename V::Floats;
    const Floats by = V::set(scale), slopes = V::set(slope);
    Floats largest = V::set(most);
    for (int c = 0; c < n_columns; ++c) {
        const Floats score = V::fma(V::load(scores + c * V::kWidth), by,
                                    V::load(mask + c * V::kWidth) * slopes);
        V::store(score, scores + c * V::kWidth);
        largest = V::max(largest, score);
    }
    const float before = most;
    most = V::largest(largest);
    if (most == bits_of<float>(0xff800000U)) {  // nothing is seen
        for (int c = 0; c < n_columns; ++c) V::store(V::zero(), scores + c * V::kWidth);
        return 1.0F;
    }
    const Floats shift = V::set(most);
    Floats total = V::zero();
    for (int c = 0; c < n_columns; ++c) {
        const Floats weight = exp<V>(V::load(scores + c * V::kWidth) - shift);
        V::store(weight, scores + c * V::kWidth);
        total = total + weight;
    }
    float factor[V::kWidth];
    V::store(exp<V>(V::set(before) - shift), factor);
    sum = sum * factor[0] + V::total(total);
    return factor[0];
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
    auto* const seen = reinterpret_cast<std::uint16_t*>(scores + space.seen);

    for (int r = 0; r < space.rows; ++r) {  // rows that fill up the last tile repeat the last one
        const int row = r < n_rows ? r : n_rows - 1;
        queries[r] = reinterpret_cast<const float*>(tile.queries +
                                                    static_cast<std::size_t>(row % tile.n_tokens) *
                                                        tile.query_token_stride +
                                                    static_cast<std::size_t>(row / tile.n_tokens) *
                                                        tile.query_head_stride);
        weights[r] = scores + r * kKeyBlock;
        most[r] = bits_of<float>(0xff800000U);
        sums[r] = 0.0F;
    }
    for (int i = 0; i < space.rows * tile.value_size; i += V::kWidth) V::store(V::zero(), out + i);

    const int n_keys = seen_keys(tile, seen, columns);
    for (int first = 0; first < n_keys; first += kKeyBlock) {
        const int count = n_keys - first < kKeyBlock ? n_keys - first : kKeyBlock;
        const int n_columns = (count + V::kWidth - 1) / V::kWidth;
        gather_keys<V>(tile, columns + first, count, keys, values);
        gather_mask<V>(tile, columns + first, count, mask);
        multiply_floats<V, false>(queries, space.rows, tile.key_size, keys, kKeyBlock, n_columns, scores,
                                  kKeyBlock);
        for (int r = 0; r < n_rows; ++r) {
            const float slope = tile.slopes == nullptr ? 1.0F : tile.slopes[r / tile.n_tokens];
            const float factor =
                exponentials<V>(scores + r * kKeyBlock, mask + r % tile.n_tokens * kKeyBlock, n_columns,
                                tile.scale, slope, most[r], sums[r]);
            if (first == 0 || factor == 1.0F) continue;
            float* row = out + r * tile.value_size;
            for (int k = 0; k < tile.value_size; k += V::kWidth)
                V::store(V::load(row + k) * V::set(factor), row + k);
        }
        multiply_floats<V, true>(weights, space.rows, count, values, tile.value_size,
                                 tile.value_size / V::kWidth, out, tile.value_size);
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
