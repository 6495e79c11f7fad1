#include <algorithm>
#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "model/model_checks.hpp"
#include "model/printable.hpp"

namespace fastplr {

namespace {

constexpr std::uint64_t kMaxTokens = 1u << 24;
constexpr std::int64_t kByteToken = 6;        // LLAMA_TOKEN_TYPE_BYTE
constexpr std::size_t kMinByteTokenText = 3;  // "<0x": llama.cpp reads the two characters after it
constexpr std::size_t kMaxTrieText = 1024;    // the longest of known vocabularies has 128 bytes

constexpr std::string_view kTokens = "tokenizer.ggml.tokens";
constexpr std::string_view kTokenTypes = "tokenizer.ggml.token_type";
constexpr std::string_view kScores = "tokenizer.ggml.scores";
constexpr std::string_view kMerges = "tokenizer.ggml.merges";
constexpr std::string_view kCharsmap = "tokenizer.ggml.precompiled_charsmap";

/// The tokenizers of llama.cpp with the special tokens that it assumes unless the file names others; -1 is
/// none.
struct Tokenizer {
    std::string_view name;
    std::int64_t bos, eos, sep, unk;
    bool needs_merges;
    bool always_adds_bos;  // unless the file says add_bos_token = false
};
constexpr std::array<Tokenizer, 9> kTokenizers{{
    {"llama", 1, 2, -1, 0, false, true},
    {"bert", 101, -1, 102, 100, false, true},
    {"gpt2", 11, 11, -1, -1, true, false},
    {"hybriddna", 11, 11, -1, -1, true, false},
    {"whitespace", 11, 11, -1, -1, true, false},
    {"gemma4", -1, -1, -1, -1, true, true},
    {"t5", -1, 1, -1, 2, false, false},
    {"rwkv", -1, -1, -1, -1, false, false},
    {"plamo2", 1, 2, -1, 0, false, false},
}};

const Tokenizer& require_tokenizer(const gguf::File& file) {
    const auto name = file.find_string("tokenizer.ggml.model");
    if (!name)
        file.fail(
            "metadata 'tokenizer.ggml.model' is missing; expected the name of a tokenizer, such as 'gpt2' or "
            "'llama'");
    const auto found = std::find_if(kTokenizers.begin(), kTokenizers.end(),
                                    [&](const Tokenizer& t) { return t.name == *name; });
    if (found == kTokenizers.end()) {
        file.fail("'tokenizer.ggml.model' is " + quoted(*name) +
                  (*name == "none" || *name == "no_vocab"
                       ? ": a model without vocabulary cannot embed texts"
                       : "; expected a tokenizer that this version of llama.cpp knows, such as 'gpt2', "
                         "'llama' or 'bert'"));
    }
    return *found;
}

/// The array at `key`, of one of the types, with at least `count` elements; nullptr where the key is missing.
const gguf::Array* optional_array(const gguf::File& file, std::string_view key,
                                  std::initializer_list<gguf::ValueType> types, std::uint64_t count) {
    if (!file.has_key(key)) return nullptr;
    const gguf::Array* array = file.find_array(key);
    if (array == nullptr) file.fail(quoted(key) + " is a single value; expected an array");
    if (std::find(types.begin(), types.end(), array->element_type) == types.end()) {
        file.fail(quoted(key) + " is an array of " + gguf::value_type_name(array->element_type) +
                  "; expected " + gguf::value_type_name(*types.begin()));
    }
    if (array->count < count) {
        file.fail(quoted(key) + " has " + std::to_string(array->count) +
                  " elements; expected one for each of " + std::to_string(count) + " tokens");
    }
    return array;
}

/// llama.cpp keys its vocabulary by text and aborts where two tokens have the same one; it reads tokens as C
/// strings (up to the first NUL) and renames empty ones.
std::vector<std::string> require_distinct_tokens(const gguf::File& file) {
    std::vector<std::string> tokens;
    gguf::for_each_string(file, kTokens, [&](std::uint64_t i, std::string_view text) {
        const std::string_view seen = text.substr(0, text.find('\0'));
        tokens.push_back(seen.empty() ? "[EMPTY_" + std::to_string(i) + "]" : std::string(seen));
    });
    std::unordered_map<std::string_view, std::size_t> first;
    first.reserve(tokens.size());
    for (std::size_t i = 0; i < tokens.size(); ++i) {
        const auto [other, is_new] = first.emplace(tokens[i], i);
        if (!is_new) {
            file.fail("tokens " + std::to_string(other->second) + " and " + std::to_string(i) + " of " +
                      quoted(kTokens) + " have the same text " + quoted(tokens[i]) +
                      "; expected distinct tokens");
        }
    }
    return tokens;
}

/// Tokens of type BYTE stand for one byte, written "<0x0A>"; WordPiece has none.
void check_byte_tokens(const gguf::File& file, const Tokenizer& tokenizer,
                       const std::vector<std::string>& tokens) {
    if (optional_array(file, kTokenTypes, {gguf::ValueType::int32}, tokens.size()) == nullptr) return;
    const std::vector<std::int64_t> types = gguf::read_integers(file, kTokenTypes);
    for (std::size_t i = 0; i < tokens.size(); ++i) {
        if (types[i] != kByteToken) continue;
        if (tokenizer.name == "bert")
            file.fail("token " + std::to_string(i) + " is a byte token; a 'bert' tokenizer has none");
        if (tokens[i].size() < kMinByteTokenText) {
            file.fail("token " + std::to_string(i) + " is a byte token with the text " + quoted(tokens[i]) +
                      "; expected text such as '<0x0A>'");
        }
    }
}

/// These keep their tokens in a trie that is built and freed by a function that calls itself for every byte.
void check_token_lengths(const gguf::File& file, const Tokenizer& tokenizer,
                         const std::vector<std::string>& tokens) {
    if (tokenizer.name != "t5" && tokenizer.name != "rwkv") return;
    for (std::size_t i = 0; i < tokens.size(); ++i) {
        if (tokens[i].size() > kMaxTrieText) {
            file.fail("token " + std::to_string(i) + " of " + quoted(kTokens) + " has " +
                      std::to_string(tokens[i].size()) + " bytes; expected at most " +
                      std::to_string(kMaxTrieText));
        }
    }
}

/// The id of a special token as llama.cpp resolves it: the file's, else the tokenizer's usual one; -1 if
/// neither lies in the vocabulary.
std::int64_t special_token(const gguf::File& file, std::string_view key, std::int64_t fallback,
                           std::uint64_t n_tokens) {
    const auto id = file.find_unsigned(key);
    if (id && *id < n_tokens) return static_cast<std::int64_t>(*id);
    return fallback < static_cast<std::int64_t>(n_tokens) ? fallback : -1;
}

std::optional<bool> find_flag(const gguf::File& file, std::string_view key) {
    const gguf::Scalar* scalar = file.find_scalar(key);
    const bool* flag = scalar == nullptr ? nullptr : std::get_if<bool>(scalar);
    return flag == nullptr ? std::nullopt : std::optional<bool>(*flag);
}

/// llama.cpp asserts, when it tokenizes, that each special token that it puts into texts exists.
void check_special_tokens(const gguf::File& file, const Tokenizer& tokenizer, std::uint64_t n_tokens) {
    const auto require = [&](std::string_view key, std::int64_t fallback) {
        if (special_token(file, key, fallback, n_tokens) >= 0) return;
        const auto id = file.find_unsigned(key);
        file.fail("metadata " + quoted(key) +
                  (id ? " is " + std::to_string(*id) : std::string(" is missing")) +
                  "; expected the id of one of the " + std::to_string(n_tokens) +
                  " tokens, because the tokenizer puts it into texts");
    };
    const bool word_piece = tokenizer.name == "bert";
    const auto add_bos = find_flag(file, "tokenizer.ggml.add_bos_token");
    const bool byte_pairs = tokenizer.needs_merges;  // for these llama.cpp chooses by 'tokenizer.ggml.pre':
                                                     // only an explicit "no" is sure
    if (word_piece || add_bos.value_or(tokenizer.always_adds_bos || byte_pairs))
        require("tokenizer.ggml.bos_token_id", tokenizer.bos);
    if (find_flag(file, "tokenizer.ggml.add_eos_token").value_or(tokenizer.name == "t5"))
        require("tokenizer.ggml.eos_token_id", tokenizer.eos);
    if (word_piece) require("tokenizer.ggml.seperator_token_id", tokenizer.sep);  // spelled so in the format
    // What stands where nothing of the vocabulary fits.
    if (word_piece || tokenizer.name == "t5") require("tokenizer.ggml.unknown_token_id", tokenizer.unk);
}

/// The replacement strings at the end of the character map are NUL-terminated: the last one must be too.
void check_charsmap(const gguf::File& file) {
    const gguf::Array* map =
        optional_array(file, kCharsmap, {gguf::ValueType::uint8, gguf::ValueType::int8}, 0);
    if (map == nullptr) return;
    const std::vector<std::int64_t> bytes = gguf::read_integers(file, kCharsmap);
    if (bytes.size() < 8)
        file.fail(quoted(kCharsmap) + " has " + std::to_string(bytes.size()) + " bytes; expected at least 8");
    std::uint64_t n_index_bytes = 0;
    for (std::size_t i = 0; i < 4; ++i)
        n_index_bytes |= (static_cast<std::uint64_t>(bytes[i]) & 0xFFu) << (8 * i);
    if (n_index_bytes % 4 != 0 || n_index_bytes + 4 >= bytes.size()) {
        file.fail(quoted(kCharsmap) + " says that its index has " + std::to_string(n_index_bytes) +
                  " bytes; expected a multiple of 4 below " + std::to_string(bytes.size() - 4));
    }
    if (bytes.back() != 0) file.fail(quoted(kCharsmap) + " does not end with a NUL byte");
}

}  // namespace

std::uint64_t check_vocabulary(const gguf::File& file) {
    const Tokenizer& tokenizer = require_tokenizer(file);
    const gguf::Array* tokens = optional_array(file, kTokens, {gguf::ValueType::string}, 0);
    if (tokens == nullptr) file.fail("metadata " + quoted(kTokens) + " is missing; expected the vocabulary");
    if (tokens->count == 0 || tokens->count > kMaxTokens) {
        file.fail(quoted(kTokens) + " has " + std::to_string(tokens->count) + " tokens; expected 1 to " +
                  std::to_string(kMaxTokens));
    }
    optional_array(file, kScores, {gguf::ValueType::float32, gguf::ValueType::int32}, tokens->count);
    const gguf::Array* merges = optional_array(file, kMerges, {gguf::ValueType::string}, 0);
    const auto pre = file.find_string("tokenizer.ggml.pre");
    if (tokenizer.needs_merges && merges == nullptr && pre != "kimi-k2") {
        file.fail("metadata " + quoted(kMerges) + " is missing; a " + quoted(tokenizer.name) +
                  " tokenizer needs it");
    }
    const std::vector<std::string> distinct = require_distinct_tokens(file);
    check_byte_tokens(file, tokenizer, distinct);
    check_token_lengths(file, tokenizer, distinct);
    check_special_tokens(file, tokenizer, tokens->count);
    check_charsmap(file);
    return tokens->count;
}

}  // namespace fastplr
