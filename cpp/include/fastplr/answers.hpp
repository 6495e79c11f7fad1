// What a model says next: log-probabilities of whole answers after a text.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "fastplr/embedder.hpp"

namespace fastplr {

/// The matrix that turns the final state of a token (layer kOutputNormLayer) into logits of the next one.
/// Read from the model file where it is needed: an engine never computes it.
class OutputHead {
  public:
    /// Throws ModelError (missing, damaged), UnsupportedArchitecture (an encoder, or an architecture whose
    /// head is not known to be one matrix).
    explicit OutputHead(const std::string& path);
    ~OutputHead();
    OutputHead(const OutputHead&) = delete;
    OutputHead& operator=(const OutputHead&) = delete;

    int n_embd() const;
    int n_vocab() const;

    /// Logits of `tokens`, each in [0, n_vocab), after `n_states` states, row-major [n_states, n_embd]; `out`
    /// is row-major [n_states, tokens.size()]. Reads those rows alone. Throws InputError, ModelError (the
    /// file changed).
    void logits(const float* states, std::size_t n_states, const std::vector<int>& tokens, double* out) const;

    /// The logarithm of the sum of exp(logit) over the vocabulary, [n_states]. `on_step` is called about
    /// every 50 ms, and may throw to cancel. `n_threads`: 0 means available_cores().
    void log_normalisers(const float* states, std::size_t n_states, int n_threads, double* out,
                         const std::function<void()>& on_step = {}) const;

  private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

/// Scores a fixed set of answers after prefix + text + suffix. An answer of several tokens counts whole.
class AnswerScorer {
  public:
    /// \param embedder of a causal model.
    /// \param prompt what stands around the text; the suffix ends with the words that ask for the answer.
    /// \param answers what follows the suffix, each with the white space before it; at least two.
    /// Throws InputError: no suffix; an answer that is blank, not UTF-8, or that another one begins with or
    /// equals, so that no sum of probabilities over answers would make sense; one whose first token swallows
    /// the end of the suffix, or that leaves no room for a text in the context. As OutputHead for the model.
    AnswerScorer(std::shared_ptr<Embedder> embedder, Prompt prompt, const std::vector<std::string>& answers);
    ~AnswerScorer();
    AnswerScorer(const AnswerScorer&) = delete;
    AnswerScorer& operator=(const AnswerScorer&) = delete;

    /// Tokens of every answer.
    const std::vector<std::vector<int>>& tokens() const;
    const OutputHead& head() const;

    /// What the answers of several tokens need of `request` beyond it: on_long, indices, on_step, on_progress
    /// are used.
    /// \param states of the texts, float32 [texts.size(), n_embd]: layer kOutputNormLayer, Pooling::last, of
    /// the same prompt.
    /// \param out row-major [texts.size(), n_answers]: the logit of the answer's first token plus the
    /// log-probabilities of its other tokens, each given those before it. The difference of two is the
    /// difference of the log-probabilities of the whole answers; less OutputHead::log_normalisers() it is the
    /// log-probability itself.
    void logits(const std::vector<std::string>& texts, const float* states, const EmbedRequest& request,
                double* out) const;

  private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace fastplr
