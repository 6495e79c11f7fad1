// How texts are put together to batches.
#pragma once

#include <cstddef>
#include <vector>

namespace fastplr {

/// Several texts computed at once: indices into the texts.
using Batch = std::vector<std::size_t>;

/// Packs texts of the given token counts into batches of at most `n_batch` tokens and `max_texts` texts, the
/// longest first (so that the memory needed is known from the first batch on). A text longer than n_batch is
/// alone in its batch. Every text is in exactly one batch.
std::vector<Batch> make_batches(const std::vector<std::size_t>& n_tokens, std::size_t n_batch,
                                std::size_t max_texts);

}  // namespace fastplr
