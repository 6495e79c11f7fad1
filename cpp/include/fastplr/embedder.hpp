// Texts in, pooled hidden states out.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "fastplr/model.hpp"
#include "fastplr/words.hpp"

namespace fastplr {

/// How the hidden states of a text's tokens become one vector.
enum class Pooling {
    /// Mean over the tokens that overlap the text itself, prompt and special tokens left out. For causal
    /// models the token
    /// at position 0 (an attention sink) is left out too unless it is the only one. Encoders: mean over all
    /// tokens.
    mean,
    /// Mean over every token, prompt and special tokens included.
    mean_all,
    /// The last token.
    last,
};

/// Throws InputError for a word that names no pooling.
Pooling pooling_from_string(const std::string& word);
const char* to_string(Pooling pooling);

/// What stands around every text: the model sees prefix + text + suffix.
struct Prompt {
    std::string prefix;
    std::string suffix;
};

/// What happens to a text that does not fit the context.
enum class OnLong {
    error,     ///< InputError; texts before it may have been computed
    truncate,  ///< the end of the text (not of the prompt) is cut; EmbedResult::truncated tells which
};

/// Throws InputError naming the index of the first text that is empty, blank, not UTF-8, or holds a NUL byte.
void check_texts(const std::vector<std::string>& texts);

/// The layer number that stands for "after the last block and the output norm".
inline constexpr int kOutputNormLayer = -1;

struct EmbedderOptions {
    /// Longest input in tokens, prompt included; 0 means the model's own limit. Memory is taken only as texts
    /// need it.
    int n_ctx = 0;
    /// Tokens computed at once, in [1, 8192]; of a T5 never more than 128, see docs/engine.md.
    int n_batch = 512;
    /// Threads; 0 means available_cores().
    int n_threads = 0;
    /// Compute the tokens that all texts of a call begin with, such as the prompt before the text, only once,
    /// and keep them for the next call; and those that texts of one batch begin with, once a batch. Equal to
    /// computing them for every text up to the tolerance of docs/numerics.md. Encoders and recurrent models
    /// never share.
    bool share_prefix = true;
    /// Batches computed at once, each with its share of the threads and with a context of its own: a thread
    /// waits for another one less often, and results are the same. 0 means as many as there are threads,
    /// while the contexts beyond the first take no more memory than the weights or 64 MB, whichever is more,
    /// and than half of what can be had. On an accelerator always one.
    int max_lanes = 0;
};

/// What the tokens of one text amount to along some directions, for explanations.
struct TokenScores {
    /// The text's own tokens that the pooling takes, in order: the bytes of the text that each stands for.
    /// One may end within a character, and spans may be empty.
    std::vector<TextSpan> places;
    /// Row-major [places.size(), n_directions]: hidden state times direction.
    std::vector<double> scores;
    /// Tokens that the pooling takes, those of prompt and special tokens included.
    std::size_t n_pooled = 0;
};

struct EmbedRequest {
    /// Layer k in 1..n_layers is the residual stream after k blocks, before the output norm; 0 is the token
    /// embeddings; kOutputNormLayer the final state after the output norm. At least one.
    std::vector<int> layers;
    /// At least one.
    std::vector<Pooling> poolings;
    Prompt prompt;
    OnLong on_long = OnLong::error;
    /// Tokens that follow each text and its prompt, one list a text; empty means none of any. For
    /// Pooling::last: the state after them.
    std::vector<std::vector<int>> continuations;
    /// Row-major [n_directions, n_embd]: where not empty, `token_scores` gets the scores of every text; one
    /// layer and one pooling then. Of texts that are cut, those of the tokens that are left.
    std::vector<double> directions;
    /// [n_texts], as the texts of the call.
    std::vector<TokenScores>* token_scores = nullptr;
    /// How error messages number the texts; empty means 0, 1, ...
    std::vector<std::size_t> indices;
    /// Called on the caller's thread, as all callbacks are, about every 50 ms; may throw to cancel, which
    /// ends the work within an operation of the model. May be empty.
    std::function<void()> on_step;
    /// Called after every batch, before on_progress, with the positions within `texts` whose rows of `out`
    /// are final, and those of them that were cut. Every text is named once. May throw to cancel. May be
    /// empty.
    std::function<void(const std::vector<std::size_t>& finished, const std::vector<std::size_t>& truncated)>
        on_batch;
    /// Called after every batch with the number of finished texts; may throw to cancel. May be empty.
    std::function<void(std::size_t n_done, std::size_t n_texts)> on_progress;
};

struct EmbedResult {
    std::size_t n_tokens = 0;            ///< of all texts as the model sees them, prompt included
    std::size_t n_computed = 0;          ///< of these, how many were computed; a shared prefix counts once
    std::vector<std::size_t> truncated;  ///< positions of the texts that were cut, ascending
};

/// Owns its contexts on a shared model. Calls from several threads are taken one after the other.
/// After a fork() the child gets contexts of its own on first use.
class Embedder {
  public:
    /// Throws InputError for options out of range.
    explicit Embedder(std::shared_ptr<const Model> model, const EmbedderOptions& options = {});
    ~Embedder();
    Embedder(const Embedder&) = delete;
    Embedder& operator=(const Embedder&) = delete;

    const Model& model() const;
    std::shared_ptr<const Model> shared_model() const;
    /// Longest input in tokens, prompt included.
    int n_ctx() const;
    int n_threads() const;
    /// Whether the tokens that texts begin with, such as a prompt before them, are computed once: not by
    /// encoders and recurrent models, nor with EmbedderOptions::share_prefix off.
    bool shares_prefix() const;

    /// Embeds `texts` (UTF-8) into `out`, float32, row-major [texts.size(), layers.size(), poolings.size(),
    /// n_embd], in the order given. Nothing is computed past the deepest wanted layer, and never the output
    /// head. Where fastplr's kernels compute (ModelOptions::kernels), a text's result does not depend on the
    /// texts that share its batch, unless it is longer than a sliding window; elsewhere, with quantised
    /// weights, it moves by a few per cent (docs/numerics.md). Throws InputError (a text that is empty,
    /// blank, not UTF-8, holds a NUL byte, or is too long; a layer or prompt out of range),
    /// UnsupportedArchitecture (the model does not expose the layer), ContextMemoryError, ModelError.
    EmbedResult embed(const std::vector<std::string>& texts, const EmbedRequest& request, float* out);

    /// Number of tokens of prefix + text + suffix as the model sees it. Throws as embed().
    std::size_t count_tokens(const std::string& text, const Prompt& prompt) const;

  private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace fastplr
