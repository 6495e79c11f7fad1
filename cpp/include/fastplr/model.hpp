// A language model loaded from a GGUF file: its weights, shared by every embedder that uses it.
#pragma once

#include <cstddef>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "fastplr/errors.hpp"
#include "fastplr/model_info.hpp"

namespace fastplr {

/// All blocks and the output norm.
inline constexpr int kAllLayers = -1;

struct ModelOptions {
    /// The deepest layer that will be asked for, in [0, n_layers], or kAllLayers. Blocks above it take no
    /// memory where the architecture allows that (Model::max_layer() tells).
    int max_layer = kAllLayers;
    /// Layers kept on an accelerator; 0 computes on the CPU, negative means all. Needs a build with such a
    /// backend.
    int n_gpu_layers = 0;
    /// Whether fastplr's own kernels compute: products with quantised matrices, packed for them when they are
    /// loaded, attention, norms, activation functions and rotary embeddings, where the processor and the file
    /// allow that (`FASTPLR_KERNELS=off` in the environment says no for the whole process). ggml computes the
    /// rest.
    bool kernels = true;
    /// With kernels: matrices of F32, F16 and BF16 are rounded to 8 bits, one scale for 32 inputs (as Q8_0),
    /// when they are loaded: a quarter or half of the memory, several times the speed, and slightly other
    /// features (docs/kernels.md).
    bool floats_in_8_bits = false;
    /// Called with the loaded fraction in [0, 1]; may throw to cancel. May be empty.
    std::function<void(double fraction)> on_progress;
};

/// Immutable after loading; safe to use from several threads.
class Model {
  public:
    /// Checks the file with fastplr's own reader, then loads it.
    /// Throws ModelError (missing, damaged, not loadable), UnsupportedArchitecture, InputError (options),
    /// ModelMemoryError: before anything is read where the weights cannot fit, on a CPU, in what the machine,
    /// the process's control groups (Linux) and RLIMIT_AS allow; and where allocating them fails.
    static std::shared_ptr<const Model> load(const std::string& path, const ModelOptions& options = {});

    ~Model();
    Model(const Model&) = delete;
    Model& operator=(const Model&) = delete;

    const ModelInfo& info() const;
    /// Number of blocks of the model, loaded or not.
    int n_layers() const;
    /// The deepest layer that can be asked for: kAllLayers if everything was loaded.
    int max_layer() const;
    /// Bytes of the weights that were loaded.
    std::size_t n_bytes_loaded() const;
    /// Types of the matrices of the loaded blocks that fastplr's own kernels do not multiply by, ascending,
    /// with the number of matrices; all of them where kernels are off.
    std::map<std::string, int> types_left_to_ggml() const;
    /// Width of the hidden states.
    int n_embd() const;
    /// Longest context the model was trained with, in tokens.
    int n_ctx_train() const;
    /// True for bidirectional encoders (BERT and its like, and the encoder of a T5, whose decoder is never
    /// loaded), which have no causal mask and no KV cache.
    bool is_encoder() const;
    /// True if layers were offered to an accelerator at loading.
    bool uses_accelerator() const;

    /// For the library's own use: the loaded weights.
    struct Native;
    const Native& native() const { return *native_; }

  private:
    explicit Model(std::unique_ptr<Native> native);
    static std::unique_ptr<Native> load_native(const std::string& path, const ModelOptions& options);
    std::unique_ptr<Native> native_;
};

/// The instruction set of fastplr's own kernels on this processor ("avx512-vnni", ...); empty where they are
/// off: by `FASTPLR_KERNELS=off` in the environment, or for want of the instructions. `FASTPLR_KERNELS` may
/// also name one of several that the processor has. Throws InputError where it names anything else.
std::string kernels_name();

/// True if this build can compute on an accelerator that is present.
bool accelerator_available();

}  // namespace fastplr
