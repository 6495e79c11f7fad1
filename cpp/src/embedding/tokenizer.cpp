#include "embedding/tokenizer.hpp"

#include <algorithm>
#include <stdexcept>

#include "embedding/large_stack.hpp"
#include "embedding/text.hpp"
#include "model/llama_log.hpp"

namespace fastplr {

namespace {

// A match of std::regex takes some hundred bytes of stack a character: 20,000 letters fit into 8 MB, 40,000
// do not.
constexpr std::size_t kRunOnThisStack = 512;
constexpr std::size_t kLargeStack = std::size_t{128} << 20;

}  // namespace

Tokenizer::Tokenizer(const llama_model* model) : vocab_(llama_model_get_vocab(model)) {
    for (llama_token token = 0; token < llama_vocab_n_tokens(vocab_); ++token) {
        longest_token_ = std::max(longest_token_, piece(token).size());
    }
}

bool Tokenizer::keeps_bytes() const {
    const auto type = llama_vocab_type(vocab_);
    return type == LLAMA_VOCAB_TYPE_BPE || type == LLAMA_VOCAB_TYPE_SPM;
}

std::vector<llama_token> Tokenizer::raw_tokens(const std::string& text) const {
    if (longest_run(text) <= kRunOnThisStack) return tokens_of(text);
    std::vector<llama_token> tokens;
    run_with_large_stack(kLargeStack, [&] { tokens = tokens_of(text); });
    return tokens;
}

std::vector<llama_token> Tokenizer::tokens_of(const std::string& text) const {
    const NativeGuard guard;
    std::vector<llama_token> tokens(text.size() + 8);
    const auto run = [&] {
        return llama_tokenize(vocab_, text.data(), static_cast<int32_t>(text.size()), tokens.data(),
                              static_cast<int32_t>(tokens.size()), /*add_special=*/true,
                              /*parse_special=*/false);
    };
    int32_t n = -1;
    try {
        n = run();
        if (n < 0 && n != INT32_MIN) {
            tokens.resize(static_cast<std::size_t>(-n));
            n = run();
        }
    } catch (const std::out_of_range& error) {  // a vocabulary without a token that its kind always has
        throw ModelError(std::string("the tokeniser of the model failed: ") + error.what());
    } catch (const std::runtime_error& error) {  // a character map that points out of itself
        throw ModelError(std::string("the tokeniser of the model failed: ") + error.what());
    }
    if (n < 0) throw ModelError("the tokeniser of the model failed: " + guard.errors());
    tokens.resize(static_cast<std::size_t>(n));
    return tokens;
}

std::vector<llama_token> Tokenizer::prompt_alone(const Prompt& prompt) const {
    const std::size_t last = prompt.prefix.find_last_not_of(" \t\r\n");
    return last == std::string::npos ? std::vector<llama_token>{}
                                     : raw_tokens(prompt.prefix.substr(0, last + 1));
}

std::string Tokenizer::piece(llama_token token) const {
    if (llama_vocab_is_control(vocab_, token)) return {};
    std::string bytes(32, '\0');
    int32_t n =
        llama_token_to_piece(vocab_, token, bytes.data(), static_cast<int32_t>(bytes.size()), 0, false);
    if (n < 0) {
        bytes.resize(static_cast<std::size_t>(-n));
        n = llama_token_to_piece(vocab_, token, bytes.data(), static_cast<int32_t>(bytes.size()), 0, false);
    }
    bytes.resize(static_cast<std::size_t>(std::max(n, 0)));
    return bytes;
}

TokenizedText Tokenizer::tokenize(const std::string& text, const Prompt& prompt) const {
    const std::string whole = prompt.prefix + text + prompt.suffix;
    TokenizedText result;
    result.tokens = raw_tokens(whole);
    const std::size_t n = result.tokens.size();

    // Byte offsets from the tokens' own bytes. Where these add up to the string (byte-level BPE;
    // SentencePiece but for the space it puts in front) a token's span is exact.
    std::vector<std::size_t> ends(n);
    std::string joined;
    for (std::size_t i = 0; i < n; ++i) {
        joined += piece(result.tokens[i]);
        ends[i] = joined.size();
    }
    const bool space_in_front =
        joined.size() == whole.size() + 1 && joined.compare(1, whole.size(), whole) == 0;
    if (joined == whole || space_in_front) {
        const std::size_t shift = space_in_front ? 1 : 0;
        const std::size_t first_byte = prompt.prefix.size() + shift;
        const std::size_t last_byte = first_byte + text.size();
        std::size_t begin = 0;
        // A token without bytes (a special token) overlaps nothing.
        while (begin < n && ends[begin] <= first_byte) ++begin;
        std::size_t end = begin;
        while (end < n && (end == 0 ? 0 : ends[end - 1]) < last_byte) ++end;
        result.text_begin = begin;
        result.text_end = end;
        return result;
    }

    // The tokeniser changes the bytes (lower-casing, normalisation): the prompt's part is what its tokens,
    // alone, share with the whole string from either side.
    std::size_t begin = 0;
    std::size_t end = n;
    if (!prompt.prefix.empty()) {
        const auto alone = raw_tokens(prompt.prefix);
        while (begin < n && begin < alone.size() && alone[begin] == result.tokens[begin]) ++begin;
    }
    if (!prompt.suffix.empty()) {
        const auto alone = raw_tokens(prompt.suffix);
        std::size_t shared = 0;
        while (shared < alone.size() && end > begin + 1 &&
               alone[alone.size() - 1 - shared] == result.tokens[end - 1]) {
            ++shared;
            --end;
        }
    }
    while (begin < end && llama_vocab_is_control(vocab_, result.tokens[begin])) ++begin;
    while (end > begin && llama_vocab_is_control(vocab_, result.tokens[end - 1])) --end;
    result.text_begin = begin;
    result.text_end = end;
    return result;
}

}  // namespace fastplr
