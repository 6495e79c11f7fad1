#include "embedding/token_places.hpp"

#include <algorithm>
#include <cstdint>
#include <optional>

#include "explain/characters.hpp"

namespace fastplr {
namespace {

/// A text as a tokeniser that normalises may see it.
struct PlainText {
    std::vector<std::uint32_t> codes;
    std::vector<TextSpan> places;   ///< bytes that each comes from
    std::vector<bool> begins_word;  ///< whether white space or punctuation is before it, or it is punctuation
};

PlainText plain_text(const std::string& text) {
    PlainText plain;
    bool apart = true;
    for (const Character& one : characters_of(text)) {
        const bool mark = is_punctuation(one.code);
        if (is_space(one.code) || mark) apart = true;
        for (const std::uint32_t code : plain_form(one.code)) {
            plain.codes.push_back(code);
            plain.places.push_back({one.begin, one.end});
            plain.begins_word.push_back(apart);
            apart = mark;
        }
    }
    return plain;
}

/// Where in `text` the token with these codes begins, from `from` on; nothing where it is not found nearby.
std::optional<std::size_t> find_token(const PlainText& text, const std::vector<std::uint32_t>& codes,
                                      std::size_t from, bool at_word) {
    constexpr std::size_t kNearby = 512;
    const std::size_t last = std::min(text.codes.size(), from + kNearby);
    for (std::size_t i = from; i < last && i + codes.size() <= text.codes.size(); ++i) {
        if (at_word && !text.begins_word[i]) continue;
        if (std::equal(codes.begin(), codes.end(), text.codes.begin() + static_cast<std::ptrdiff_t>(i)))
            return i;
    }
    return std::nullopt;
}

std::vector<TextSpan> aligned_places(const Tokenizer& tokenizer, const std::string& text,
                                     const TokenizedText& tokenized) {
    const PlainText plain = plain_text(text);
    std::vector<TextSpan> places;
    std::size_t next = 0;       // code that the next token should begin with
    std::size_t n_unknown = 0;  // tokens at the end of `places` that were not found
    const auto byte_of = [&](std::size_t code) {
        return code < plain.places.size() ? plain.places[code].begin : text.size();
    };
    const auto place_unknown = [&](std::size_t from, std::size_t to) {
        for (std::size_t k = places.size() - n_unknown; k < places.size(); ++k)
            places[k] = {byte_of(from), to > from ? plain.places[to - 1].end : byte_of(from)};
        n_unknown = 0;
    };
    for (std::size_t t = tokenized.text_begin; t < tokenized.text_end; ++t) {
        const std::string piece = tokenizer.piece(tokenized.tokens[t]);
        std::vector<std::uint32_t> codes;
        for (const Character& one : characters_of(piece)) {
            const auto form = plain_form(one.code);
            codes.insert(codes.end(), form.begin(), form.end());
        }
        places.push_back({byte_of(next), byte_of(next)});
        if (codes.empty() && !piece.empty()) continue;  // white space
        const bool at_word = n_unknown > 0 && !piece.empty() && piece.front() == ' ';
        const auto found = codes.empty() ? std::nullopt : find_token(plain, codes, next, at_word);
        // Without an unknown token before it, a token stands where the last one ended.
        if (!found || (n_unknown == 0 && *found != next)) {
            ++n_unknown;
            continue;
        }
        places.pop_back();
        place_unknown(next, *found);
        const std::size_t end = *found + codes.size();
        places.push_back({byte_of(*found), plain.places[end - 1].end});
        next = end;
    }
    place_unknown(next, plain.codes.size());
    return places;
}

}  // namespace

std::vector<TextSpan> token_places(const Tokenizer& tokenizer, const std::string& text, const Prompt& prompt,
                                   const TokenizedText& tokenized) {
    std::string joined;
    std::vector<std::size_t> ends;
    for (std::size_t t = 0; t < tokenized.text_end; ++t) {
        joined += tokenizer.piece(tokenized.tokens[t]);
        ends.push_back(joined.size());
    }
    const std::string whole = prompt.prefix + text + prompt.suffix;
    const bool exact = whole.compare(0, joined.size(), joined) == 0;
    const bool space_in_front =
        !exact && !joined.empty() && whole.compare(0, joined.size() - 1, joined, 1, std::string::npos) == 0;
    if (!exact && !space_in_front) return aligned_places(tokenizer, text, tokenized);
    const std::size_t first_byte = prompt.prefix.size() + (space_in_front ? 1 : 0);
    const auto in_text = [&](std::size_t byte) {
        return std::min(byte < first_byte ? 0 : byte - first_byte, text.size());
    };
    std::vector<TextSpan> places;
    for (std::size_t t = tokenized.text_begin; t < tokenized.text_end; ++t)
        places.push_back({in_text(t == 0 ? 0 : ends[t - 1]), in_text(ends[t])});
    return places;
}

}  // namespace fastplr
