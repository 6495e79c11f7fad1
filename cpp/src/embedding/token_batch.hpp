// The arrays of a llama_batch: llama_batch_init() makes them one by one and does not look whether it could.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

#include "llama.h"

namespace fastplr {

/// Owns what `view` points to; to be filled through it.
class TokenBatch {
  public:
    /// Room for `n_tokens` tokens of up to `n_sequences` sequences each. What nobody fills takes no memory.
    TokenBatch(std::size_t n_tokens, std::size_t n_sequences)
        : tokens_(new llama_token[n_tokens]),
          positions_(new llama_pos[n_tokens]),
          n_ids_(new int32_t[n_tokens]),
          ids_(new llama_seq_id[n_tokens * n_sequences]),
          ids_of_token_(new llama_seq_id*[n_tokens]),
          outputs_(new int8_t[n_tokens]),
          view{0,
               tokens_.get(),
               nullptr,
               positions_.get(),
               n_ids_.get(),
               ids_of_token_.get(),
               outputs_.get()} {
        for (std::size_t t = 0; t < n_tokens; ++t) ids_of_token_[t] = ids_.get() + t * n_sequences;
    }

  private:
    std::unique_ptr<llama_token[]> tokens_;
    std::unique_ptr<llama_pos[]> positions_;
    std::unique_ptr<int32_t[]> n_ids_;
    std::unique_ptr<llama_seq_id[]> ids_;
    std::unique_ptr<llama_seq_id*[]> ids_of_token_;
    std::unique_ptr<int8_t[]> outputs_;

  public:
    llama_batch view;
};

}  // namespace fastplr
