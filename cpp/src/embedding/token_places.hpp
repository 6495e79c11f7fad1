// Which bytes of a text each of its tokens stands for.
#pragma once

#include <string>
#include <vector>

#include "embedding/tokenizer.hpp"
#include "fastplr/words.hpp"

namespace fastplr {

/// The bytes of `text` that each of its own tokens stands for, [text_end - text_begin], in the order of the
/// tokens.
///
/// Exact where the tokens' bytes add up to the string (byte-level BPE, SentencePiece); a token may then end
/// within a character. Where the tokeniser changes the bytes (lower case, no accents), tokens are found in
/// the text one after the other by what both look like without case and accents; one that is not found (an
/// unknown word) has the bytes between its neighbours, and several of them share these. Spans are ascending
/// and may be empty.
std::vector<TextSpan> token_places(const Tokenizer& tokenizer, const std::string& text, const Prompt& prompt,
                                   const TokenizedText& tokenized);

}  // namespace fastplr
