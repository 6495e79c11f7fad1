// What an instruction set offers: functions, and how to call them.
#pragma once

#include "weight_format.hpp"

namespace fastplr::kernels {

/// Activations of some rows, quantised to 8 bits, one scale for the 32 inputs of a unit:
/// x = scale * code with |code| <= 127.
struct Activations {
    std::int8_t* codes;     // [n_rows][n_inputs]
    float* scales;          // [n_rows][n_units]
    std::int32_t* offsets;  // [n_rows][n_groups]: minus the zero of the weights times the sum of a group's
                            // codes, plus the bits of kMagic (tile.hpp)
    float* sums;            // [n_rows][n_groups]: scale times that sum; for weights with mins only
};

/// Weights of one panel in bytes, for as many inputs as are multiplied.
struct UnpackedPanel {
    std::uint8_t* codes;  // [n_inputs / 4][16][4]; of types with 8 bits signed where the variant says so
    float* scales;        // [n_groups][16]
    float* mins;          // [n_groups][16]; for weights with mins only
};

/// Keys that a tile of attention takes at a time.
constexpr int kKeyBlock = 128;
/// Rows that a variant multiplies together at the most, in products of floats.
constexpr int kMostFloatRows = 6;
/// A value of a mask (a half) that hides a key: minus infinity.
constexpr std::uint16_t kMasked = 0xFC00;

/// Attention of some neighbouring tokens over the keys and values of one head, for all heads of queries that
/// share it: out = softmax(scale * queries keys^T + slope * mask) values. Strides are in bytes.
struct AttentionTile {
    int n_tokens, n_heads;     // of queries
    int key_size, value_size;  // multiples of 16
    int first_key, end_key;    // no token sees a key outside
    const char* queries;       // float32
    std::size_t query_token_stride, query_head_stride;
    const char* keys;  // float16 if `halves`, else float32
    std::size_t key_stride;
    const char* values;  // as keys
    std::size_t value_stride;
    bool halves;
    const char* mask;  // float16, a row for each token, a value for each key; null: all are seen
    std::size_t mask_stride;
    const float* slopes;  // [n_heads], or null: 1
    float scale;
    char* out;  // float32; zeros for a token that sees no key
    std::size_t out_token_stride, out_head_stride;
    float* space;  // AttentionSpace::size floats, to work in; at a multiple of 64 bytes
};

/// x + bias + second; the latter two may be null.
struct RowInput {
    const float* x;
    const float* second;
    const float* bias;
};

/// (x - mean) / sqrt(mean of its squares + eps) * weight + shift, the mean 0 where not `centred` (RMS norm).
struct NormParameters {
    bool centred;
    float eps;
    const float* weight;  // or null: 1
    const float* shift;   // or null: 0
};

/// silu: x / (1 + e^-x). gelu: 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))).
enum class ActivationKind { silu, gelu };

struct Variant {
    const char* name;
    /// Panels that are multiplied together at the most.
    int n_panels;

    /// Quantises row `row` to activations [0][...]: pointers are those of the row. A unit with a value that
    /// is not finite gets the scale NaN, so that all products of the row are NaN; one whose values are all
    /// below 1e-30 is zero.
    void (*quantise)(const WeightFormat& format, const float* row, std::int64_t n_inputs,
                     const Activations& to);

    void (*unpack)(const WeightFormat& format, const std::uint8_t* panel, std::int64_t n_inputs,
                   const UnpackedPanel& to);

    /// out[row * stride + output] for `n_rows` rows and the outputs of `n_panels` panels; all 16 of each are
    /// written.
    void (*multiply)(const WeightFormat& format, const Activations& activations, std::int64_t n_rows,
                     std::int64_t n_inputs, const UnpackedPanel* panels, int n_panels, float* out,
                     std::int64_t stride);

    void (*attend)(const AttentionTile& tile);

    /// Pairs of values turned: x[i] and x[i + n / 2] if `halves`, with n / 2 cosines and sines, else
    /// neighbours, with each cosine twice and each sine as -s, s. `n` is a multiple of 32; `out` may be x.
    void (*turn)(const float* x, const float* cosines, const float* sines, int n, bool halves, float* out);

    /// A row of `n` values, a multiple of 16; `out` may be x or second.
    void (*add)(const RowInput& in, int n, float* out);

    /// A row of `n` values, a multiple of 16; `out` may be x.
    void (*norm)(const NormParameters& by, const RowInput& in, int n, float* out);

    /// The function of a row of `n` values, a multiple of 16, times `factor` unless that is null; `out` may
    /// be one of the inputs.
    void (*activate)(ActivationKind kind, const RowInput& in, const float* factor, int n, float* out);
};

const Variant& reference_variant();

/// Those that were compiled and that this processor can run, the fastest first; the reference is the last.
const Variant* const* available_variants(int& count);

}  // namespace fastplr::kernels
