// A GGUF file of another tensor type, or with fewer layers, made by libllama's own quantiser.
#pragma once

#include <functional>
#include <string>

#include "fastplr/errors.hpp"

namespace fastplr {

struct QuantizeOptions {
    int n_threads = 0;  ///< 0 means available_cores()
    /// Blocks to keep, from the first on, in [1, n_layers]; 0 means all.
    int n_layers = 0;
    /// Whether matrices that are quantised already may be quantised again, which adds one error to another.
    bool allow_requantize = false;
    /// Whether a matrix whose rows are no multiple of the type's block (256 for the K types) may get another
    /// type, as libllama chooses it. TensorTypeShare of the new file tells.
    bool allow_fallback = false;
    /// What the new file says it was made from; empty means model_identity() of the source.
    std::string source_sha256;
    /// Called before each tensor with the number of finished ones; may throw to cancel. May be empty.
    std::function<void(int n_done, int n_tensors)> on_progress;
};

/// Reads the model at `source` and writes it to `target` with its weight matrices in `type` ("Q4_0", "Q8_0",
/// "F16", "F32", "Q4_K_M", ... as llama.cpp writes them, upper or lower case). Types of several widths mix
/// them by rules of libllama, and small matrices may stay as they are. The source's sha256, the type, the
/// number of kept blocks and llama.cpp's commit are recorded in the new file: model_identity() reads them.
/// `target` is half-written after a failure: write to a temporary name and rename. Throws InputError (unknown
/// type; a type that the rows cannot take, without `allow_fallback`; quantised matrices, without
/// `allow_requantize`; `n_layers` out of range), ModelError (source not usable, target not writable).
void quantize_file(const std::string& source, const std::string& target, const std::string& type,
                   const QuantizeOptions& options = {});

/// Whether the rows of all matrices of the blocks of `source` are multiples of the block of `type`. Throws
/// InputError (unknown type), ModelError (source not usable).
bool rows_fit(const std::string& source, const std::string& type);

/// What multiplies by matrices of a type ("Q4_0", "F16", ...) on this processor: "fastplr avx512-vnni" and
/// the like, or "ggml", with "repacked" where ggml lays the rows out anew, "scalar" where it has no vector
/// code for them.
std::string kernel_of_type(const std::string& type);

}  // namespace fastplr
