#pragma once

#include "variant.hpp"

namespace fastplr::kernels {

// Included by files that are compiled for other instruction sets: nothing here may be merged by the linker.
namespace {

/// Where things lie in the memory that a tile works in.
struct AttentionSpace {
    AttentionSpace(int n_rows, int key_size, int value_size, int n_tokens, int n_keys)
        : rows((n_rows + kMostFloatRows - 1) / kMostFloatRows * kMostFloatRows),
          keys(rows * kKeyBlock),
          values(keys + key_size * kKeyBlock),
          out(values + value_size * kKeyBlock),
          mask(out + rows * value_size),
          most(mask + n_tokens * kKeyBlock),
          sums(most + rows),
          pointers(aligned(sums + rows)),
          n_seen(pointers + 2 * rows * kPointerFloats),
          columns(n_seen + n_tokens),
          seen(columns + n_keys),
          size(aligned(seen + n_keys / 2 + 1)) {}

    static constexpr int kPointerFloats = sizeof(void*) / sizeof(float);
    static constexpr int aligned(int at) { return (at + 15) / 16 * 16; }

    int rows;
    int keys, values, out, mask, most, sums, pointers, n_seen, columns, seen,
        size;  // in floats; scores are at 0
};

}  // namespace
}  // namespace fastplr::kernels
