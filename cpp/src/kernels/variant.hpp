// What an instruction set offers: three functions and how to call them.
#pragma once

#include "weight_format.hpp"

namespace fastplr::kernels {

/// Activations of some rows, quantised to 8 bits, one scale for the 32 inputs of a unit:
/// x = scale * code with |code| <= 127.
struct Activations {
    std::int8_t* codes;  // [n_rows][n_inputs]
    float* scales;       // [n_rows][n_units]
    std::int32_t*
        offsets;  // [n_rows][n_groups]: minus the zero of the weights times the sum of a group's codes
    float* sums;  // [n_rows][n_groups]: scale times that sum; for weights with mins only
};

/// Weights of one panel in bytes, for as many inputs as are multiplied.
struct UnpackedPanel {
    std::uint8_t* codes;  // [n_inputs / 4][16][4]; of types with 8 bits signed where the variant says so
    float* scales;        // [n_groups][16]
    float* mins;          // [n_groups][16]; for weights with mins only
};

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
};

const Variant& reference_variant();

/// Those that were compiled and that this processor can run, the fastest first; the reference is the last.

const Variant* const* available_variants(int& count);

}  // namespace fastplr::kernels
