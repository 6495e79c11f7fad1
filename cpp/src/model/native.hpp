// The llama.cpp side of a Model, for the rooms that compute with it.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>

#include "fastplr/model.hpp"
#include "llama.h"

namespace fastplr {

struct LlamaModelDeleter {
    void operator()(llama_model* model) const { llama_model_free(model); }
};

struct Model::Native {
    ModelInfo info;
    std::unique_ptr<llama_model, LlamaModelDeleter> llama;
    int n_layers = 0;
    int max_layer = kAllLayers;
    bool accelerated = false;
    bool kernels =
        false;  ///< its graphs are computed by the kernels where they can; never with an accelerator
    bool encoder = false;
    /// Nothing follows the last block: it normalises within, as BERT does.
    bool ends_with_block = false;
    /// Recurrent state cannot hold several texts of one batch the way a KV cache does.
    bool recurrent = false;
    /// Attention with a bias for each pair of tokens (T5): computed for every pair of a batch, whichever
    /// texts they belong to, since flash attention has no such bias.
    bool pair_bias = false;
    /// Texts of more tokens are computed with other rotary factors (longrope: Phi-3 of 128k).
    std::size_t n_ctx_short_rope = SIZE_MAX;
};

}  // namespace fastplr
