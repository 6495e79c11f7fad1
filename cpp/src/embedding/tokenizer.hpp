// From a prompted text to tokens, and which of them belong to the text itself.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "fastplr/embedder.hpp"
#include "llama.h"

namespace fastplr {

struct TokenizedText {
    std::vector<llama_token> tokens;
    /// Tokens [text_begin, text_end) overlap the text's own bytes; the others are prompt or special tokens.
    std::size_t text_begin = 0;
    std::size_t text_end = 0;
};

/// Stateless apart from the vocabulary; safe to use from several threads.
class Tokenizer {
  public:
    explicit Tokenizer(const llama_model* model);

    /// Tokens of prefix + text + suffix, tokenised as one string, with the special tokens the model asks for.
    /// Control tokens written out in the text are ordinary characters. Throws ModelError if llama.cpp's
    /// tokeniser fails.
    TokenizedText tokenize(const std::string& text, const Prompt& prompt) const;

    /// Tokens of the prompt's prefix alone, without the white space at its end, which becomes part of the
    /// text's first token. Empty where there is no prefix.
    std::vector<llama_token> prompt_alone(const Prompt& prompt) const;

    /// Whether tokens stand for all bytes of a text (BPE, SentencePiece); an unknown word of others is one
    /// token however long.
    bool keeps_bytes() const;

    /// Bytes of the longest token of the vocabulary, at least 1.
    std::size_t longest_token() const { return longest_token_; }

    /// The bytes that a token stands for; empty for control tokens.
    std::string piece(llama_token token) const;

  private:
    std::vector<llama_token> raw_tokens(const std::string& text) const;
    std::vector<llama_token> tokens_of(const std::string& text) const;

    const llama_vocab* vocab_;
    std::size_t longest_token_ = 1;
};

}  // namespace fastplr
