// Reads hidden states out of llama.cpp's graph while it is computed, and cuts from it what nobody wants.
#pragma once

#include <string>
#include <vector>

#include "fastplr/embedder.hpp"
#include "llama.h"

namespace fastplr {

/// The tokens of one text inside a batch.
struct Segment {
    std::size_t first_row = 0;    ///< row of its first token in the batch
    std::size_t n_rows = 0;       ///< how many of its tokens are in this batch
    std::size_t first_token = 0;  ///< index, within the text, of the token at first_row
};

/// Which tokens of a text each pooling takes.
struct PoolingRange {
    std::size_t begin = 0;
    std::size_t end = 0;
};

/// Scores of single tokens of a text, while they are computed.
struct TokenScoring {
    const std::vector<double>* directions = nullptr;  ///< row-major [n_directions, n_embd]
    PoolingRange range;                               ///< of the tokens that are scored
    std::vector<double>* scores = nullptr;            ///< row-major [tokens of range, n_directions]
};

/// Sums of hidden states, [n_layers, n_poolings, n_embd] for one text, in float64: a long text is added up
/// over many batches, and the sum does not depend on where they were cut.
struct PooledSums {
    std::vector<PoolingRange> ranges;  ///< one a pooling, in tokens of the whole text
    std::vector<double> sums;
    TokenScoring tokens = {};  ///< of the first layer; without directions nothing is scored
};

/// The evaluation callback of one context. Set the wanted layers, then for each decode the segments; the
/// callback adds the rows of every wanted layer to the sums of their text.
class LayerCapture {
  public:
    /// \param n_layers blocks of the graphs.
    /// \param ends_with_block the output is the state after the last block, under the output's name (BERT).
    LayerCapture(int n_layers, int n_embd, bool ends_with_block);

    void want(const std::vector<int>& layers);

    /// Whether a tensor of this name holds a wanted layer.
    bool wants(const char* name) const;

    /// The deepest wanted layer as a number of blocks; one more than there are for the state after the output
    /// norm.
    int depth() const;

    /// Prepares for one call of llama_decode: `segments[i]` goes to `sums[i]`.
    void begin(std::vector<Segment> segments, std::vector<PooledSums*> sums, std::size_t n_rows);

    /// Throws UnsupportedArchitecture if the last graph that was built does not hold every wanted layer.
    void check_graph(const std::string& architecture) const;

    /// Throws as check_graph(), for a layer of another shape too, and ModelError for one that was not
    /// computed.
    void finish(const std::string& architecture) const;

    /// llama.cpp's ggml_backend_sched_eval_callback; `self` is the LayerCapture.
    static bool on_eval(ggml_tensor* tensor, bool ask, void* self);

    /// llama_graph_cut_callback: everything after the deepest wanted layer is cut, the output head with it. A
    /// graph that lacks a wanted layer is left whole; check_graph() tells.
    static int on_graph(ggml_cgraph* graph, void* self);

  private:
    struct Wanted {
        int layer;
        std::vector<std::string> names;  ///< tensor names that hold it; the first one in a graph counts
        bool in_graph = true;
        bool captured = false;

        bool is_in(const char* name) const;
    };

    bool on_tensor(ggml_tensor* tensor, bool ask);
    int n_wanted_nodes(ggml_cgraph* graph);
    void add_rows(std::size_t wanted_index, const ggml_tensor* tensor);
    void score_rows(const Segment& segment, const TokenScoring& tokens, const float* data) const;

    int n_layers_;
    int n_embd_;
    bool ends_with_block_;
    std::vector<Wanted> wanted_;
    std::vector<Segment> segments_;
    std::vector<PooledSums*> sums_;
    std::size_t n_rows_ = 0;
    std::vector<float> staging_;
    std::string bad_shape_;
};

}  // namespace fastplr
