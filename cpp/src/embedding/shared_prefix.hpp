// The tokens that all texts begin with are computed once: their keys and values stay in the context, and
// their hidden states are added up for the poolings that count them.
#pragma once

#include <cstddef>
#include <vector>

#include "embedding/layer_capture.hpp"
#include "embedding/tokenizer.hpp"

namespace fastplr {

/// What is known of a prefix that a context holds.
struct SharedPrefix {
    std::vector<llama_token> tokens;
    int depth = 0;            ///< LayerCapture::depth() that its keys and values were computed to
    std::vector<int> layers;  ///< whose sums are kept
    /// Sums over the tokens from a first one to the end of the prefix, one range for each first token that
    /// some pooling of some text begins with; [layers, ranges, n_embd].
    PooledSums sums;

    /// Whether it has all that a request needs that goes as deep as `depth`, wants `layers` and has poolings
    /// that begin with the tokens `begins`.
    bool serves(int depth, const std::vector<int>& layers, const std::vector<std::size_t>& begins) const;

    /// Adds what the prefix contributes to the sums of a text for `layers`.
    void add_to(PooledSums& text, const std::vector<int>& layers, std::size_t n_embd) const;
};

/// Tokens that all texts begin with, at most `limit`; every text has at least one more.
std::size_t common_prefix(const std::vector<TokenizedText>& texts, std::size_t limit);

/// How many of the common tokens are worth computing apart from the texts, 0 for none.
/// \param texts what is to be embedded, at least one.
/// \param prompt_alone the tokens of the prompt before the text without white space at its end, which the
/// tokens of some texts begin with: what texts of one prompt share is then the same in every call.
/// \param limit no more than this many.
/// \param n_batch tokens of a batch: what the texts themselves have in common, beyond their prompt, is shared
/// where there are batches enough for it.
std::size_t shared_length(const std::vector<TokenizedText>& texts,
                          const std::vector<llama_token>& prompt_alone, std::size_t limit,
                          std::size_t n_batch);

/// The first tokens of those pooled ranges that begin within the first `n_shared` tokens, ascending, each
/// once.
std::vector<std::size_t> shared_begins(const std::vector<std::vector<PoolingRange>>& ranges,
                                       std::size_t n_shared);

}  // namespace fastplr
