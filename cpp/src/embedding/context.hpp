// One llama.cpp context with its thread pool, made for embedding.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "embedding/batches.hpp"
#include "embedding/layer_capture.hpp"
#include "embedding/side_by_side.hpp"
#include "embedding/token_batch.hpp"
#include "ggml-cpu.h"
#include "kernels/graph_plan.hpp"
#include "model/llama_log.hpp"
#include "model/native.hpp"

namespace fastplr {

/// Texts in one batch at the most: LLAMA_MAX_SEQ.
inline constexpr std::size_t kMaxTextsPerBatch = 256;

/// What a context must be able to hold.
struct ContextShape {
    std::size_t n_ctx = 0;    ///< tokens whose keys and values are kept at once
    std::size_t n_batch = 0;  ///< tokens computed at once
    int depth = 0;            ///< LayerCapture::depth() of the graphs that memory is planned for

    bool holds(const ContextShape& other) const {
        return n_ctx >= other.n_ctx && n_batch >= other.n_batch && depth >= other.depth;
    }
};

/// A piece of a text that goes into one decode.
struct Piece {
    TokenSpan tokens;
    std::size_t n_shared;  ///< of them, how many are the tokens of the piece before, and computed there
};

class Context {
  public:
    /// Throws ContextMemoryError, naming the size asked for, before anything is allocated where it cannot
    /// fit; UnsupportedArchitecture, ModelError.
    /// \param max_threads all of them compute until use_threads() says otherwise.
    Context(const Model& model, const ContextShape& shape, int max_threads, LayerCapture& capture);
    Context(const Context&) = delete;
    Context& operator=(const Context&) = delete;

    const ContextShape& shape() const { return shape_; }

    /// Texts in one batch at the most.
    std::size_t max_texts() const { return max_texts_; }

    /// What one of the same shape but for `n_ctx`, which is no larger, would take, in bytes.
    std::size_t n_bytes(std::size_t n_ctx) const;
    /// What the weights take.
    std::size_t n_weight_bytes() const;

    /// Threads that compute from now on, in [1, max_threads].
    void use_threads(int n_threads);

    /// Runs the pieces as sequences 0, 1, ... of one batch, all from position `first_position` on. Tokens
    /// that are not shared are at most n_batch; the rows of the captured tensors are theirs, in the order of
    /// the pieces. `is_stopped` is asked between two operations. Throws Stopped, ModelError,
    /// UnsupportedArchitecture, ContextMemoryError, after which the context is not to be used again.
    void decode(const std::vector<Piece>& pieces, std::size_t first_position, const IsStopped& is_stopped);

    /// Forgets all sequences from `position` on.
    void forget(std::size_t position = 0);

    /// Which of two sets of rotary factors (longrope) computes from now on; at first the short one. What was
    /// computed with the other must be forgotten.
    void use_long_rope(bool use);

    /// What sequence 0 holds, for another context on the same model.
    std::vector<std::uint8_t> first_sequence();

    /// Takes what first_sequence() gave; this context holds nothing yet. Returns whether it could.
    bool take_first_sequence(const std::vector<std::uint8_t>& state);

    /// What sequence 0 holds is the beginning of every other sequence too, at no cost.
    void share_first_sequence();

  private:
    struct ContextDeleter {
        void operator()(llama_context* context) const { llama_free(context); }
    };
    struct ThreadpoolDeleter {
        void operator()(ggml_threadpool* pool) const { ggml_threadpool_free(pool); }
    };

    static bool on_abort(void* self);                     ///< ggml_abort_callback
    static int on_graph(ggml_cgraph* graph, void* self);  ///< llama_graph_cut_callback
    void create(int max_threads);  ///< leaves context_ or pool_ empty where llama.cpp does not give one
    void add_tokens(const std::vector<Piece>& pieces, std::size_t piece, std::size_t first_position);
    [[noreturn]] void throw_out_of_memory(const std::string& what, const NativeGuard& guard) const;

    ContextShape shape_;
    const Model& model_;
    LayerCapture& capture_;
    kernels::PlanMemory plans_;
    std::size_t max_texts_;
    // Order matters: the context is freed before the pool that it uses.
    std::unique_ptr<ggml_threadpool, ThreadpoolDeleter> pool_;
    std::unique_ptr<llama_context, ContextDeleter> context_;
    std::optional<TokenBatch> batch_;
    const IsStopped* is_stopped_ = nullptr;  ///< of the decode that is going on
};

}  // namespace fastplr
