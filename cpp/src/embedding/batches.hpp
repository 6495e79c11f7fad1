// How texts are put together to batches.
#pragma once

#include <cstddef>
#include <vector>

#include "llama.h"

namespace fastplr {

/// The tokens of a text that are to be computed.
struct TokenSpan {
    const llama_token* tokens = nullptr;
    std::size_t size = 0;
};

/// A text in a batch.
struct BatchText {
    std::size_t index = 0;  ///< of the text among all
    std::size_t n_shared =
        0;  ///< tokens that it begins with as the text before it does, and are computed there

    bool operator==(const BatchText& other) const {
        return index == other.index && n_shared == other.n_shared;
    }
};

/// Several texts computed at once.
using Batch = std::vector<BatchText>;

/// Tokens that are computed for a batch: those that its texts share count once.
std::size_t n_tokens(const Batch& batch, const std::vector<TokenSpan>& texts);

/// Packs texts into batches of at most `n_batch` tokens and `max_texts` texts. A text longer than n_batch is
/// alone in its batch. Every text is in exactly one batch. There are as few batches as filling one after the
/// other makes, and they are of nearly the same size, so that several threads with a batch each end together.
///
/// \param share texts of a batch share the tokens that they begin with: those that begin alike stand
/// together,
///   after the texts longer than n_batch, and shared tokens count once. Otherwise the longest come first.
std::vector<Batch> make_batches(const std::vector<TokenSpan>& texts, std::size_t n_batch,
                                std::size_t max_texts, bool share);

}  // namespace fastplr
