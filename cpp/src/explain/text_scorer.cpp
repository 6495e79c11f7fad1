#include "explain/text_scorer.hpp"

#include <algorithm>
#include <iterator>
#include <unordered_map>
#include <utility>

#include "embedding/text.hpp"
#include "explain/characters.hpp"

namespace fastplr {
namespace {

using Eigen::Index;

std::string place(const TextSpan& span) {
    return "[" + std::to_string(span.begin) + ", " + std::to_string(span.end) + ")";
}

void check_spans_of(const std::string& text, const std::vector<TextSpan>& spans, std::size_t index) {
    const std::string of = " of texts[" + std::to_string(index) + "] ";
    std::size_t last = 0;
    for (std::size_t i = 0; i < spans.size(); ++i) {
        const TextSpan& span = spans[i];
        if (span.begin >= span.end || span.end > text.size()) {
            throw InputError("the span " + place(span) + of + shown(text) +
                             " is empty or leaves the text of " + std::to_string(text.size()) + " bytes");
        }
        if (i > 0 && span.begin < last)
            throw InputError("the span " + place(span) + of + shown(text) + " begins before " +
                             place(spans[i - 1]) + " ends: expected ascending spans without overlap");
        const bool between = character_start(text, span.begin) == span.begin &&
                             (span.end == text.size() || character_start(text, span.end) == span.end);
        if (!between) throw InputError("the span " + place(span) + of + shown(text) + " cuts a character");
        last = span.end;
    }
}

/// How many bytes before each byte of a text, and before its end, belong to no white space.
std::vector<std::size_t> solid_before(const std::string& text) {
    std::vector<std::size_t> before{0};
    for (const Character& one : characters_of(text)) {
        for (std::size_t byte = one.begin; byte < one.end; ++byte)
            before.push_back(before.back() + (is_space(one.code) ? 0 : 1));
    }
    return before;
}

/// What part of a token belongs to each span: by its bytes that are no white space. A token of white
/// space alone, or of no bytes, belongs to the span that follows it, at the end to the last one, unless
/// text that is in no span is between.
std::vector<double> shares_of(const std::vector<std::size_t>& solid_before, const TextSpan& token,
                              const std::vector<TextSpan>& spans) {
    std::vector<double> shares(spans.size(), 0.0);
    const auto solid = [&](std::size_t begin, std::size_t end) {
        return end > begin ? solid_before[end] - solid_before[begin] : 0;
    };
    const std::size_t n_solid = solid(token.begin, token.end);
    if (n_solid > 0) {
        for (std::size_t i = 0; i < spans.size(); ++i) {
            const std::size_t begin = std::max(token.begin, spans[i].begin);
            const std::size_t end = std::min(token.end, spans[i].end);
            if (begin < end)
                shares[i] = static_cast<double>(solid(begin, end)) / static_cast<double>(n_solid);
        }
        return shares;
    }
    const auto next = std::find_if(spans.begin(), spans.end(),
                                   [&](const TextSpan& span) { return span.end > token.begin; });
    if (next != spans.end() && solid(token.end, next->begin) == 0) {
        shares[static_cast<std::size_t>(next - spans.begin())] = 1.0;
    } else if (next != spans.begin() && solid((next - 1)->end, token.begin) == 0) {
        shares[static_cast<std::size_t>(next - 1 - spans.begin())] = 1.0;
    }
    return shares;
}

}  // namespace

std::vector<std::vector<TextSpan>> checked_spans(const std::vector<std::string>& texts,
                                                 const std::vector<std::vector<TextSpan>>& given) {
    check_texts(texts);
    std::vector<std::vector<TextSpan>> spans = given;
    if (spans.empty()) std::transform(texts.begin(), texts.end(), std::back_inserter(spans), words_of);
    if (spans.size() != texts.size()) {
        throw InputError("spans are given for " + std::to_string(spans.size()) + " texts: expected " +
                         std::to_string(texts.size()));
    }
    for (std::size_t t = 0; t < texts.size(); ++t) check_spans_of(texts[t], spans[t], t);
    return spans;
}

TextScorer::TextScorer(Embedder& embedder, const ClassifierData& data, OnLong on_long,
                       std::function<void()> on_step)
    : embedder_(embedder), data_(data), n_rows_(data.n_rows()) {
    request_.layers = {data.layer};
    request_.poolings = {data.pooling};
    request_.prompt = data.prompt;
    request_.on_long = on_long;
    request_.on_step = std::move(on_step);
    if (data.n_features != static_cast<std::size_t>(embedder.model().n_embd())) {
        throw InputError("the classifier has " + std::to_string(data.n_features) +
                         " features: expected the model's " + std::to_string(embedder.model().n_embd()));
    }
    for (std::size_t k = 0; k < data.coef.size(); ++k)
        directions_.push_back(data.coef[k] / data.scale[k % data.n_features]);
}

std::vector<TextExplanation> TextScorer::whole_texts(const std::vector<std::string>& texts,
                                                     const std::vector<std::vector<TextSpan>>& spans,
                                                     bool additive) {
    EmbedRequest request = request_;
    std::vector<TokenScores> scores;
    if (additive) {
        request.directions = directions_;
        request.token_scores = &scores;
    }
    std::vector<float> features(texts.size() * data_.n_features);
    const EmbedResult result = embedder_.embed(texts, request, features.data());
    std::vector<double> logits(texts.size() * n_rows_);
    decision_function(data_, features.data(), texts.size(), logits.data());
    std::vector<TextExplanation> found(texts.size());
    for (std::size_t t = 0; t < texts.size(); ++t) {
        const auto first = logits.begin() + static_cast<std::ptrdiff_t>(t * n_rows_);
        found[t].spans = spans[t];
        found[t].logits.assign(first, first + static_cast<std::ptrdiff_t>(n_rows_));
        found[t].prompt.assign(n_rows_, 0.0);
        if (additive) add_up_tokens(texts[t], scores[t], found[t]);
    }
    for (const std::size_t t : result.truncated) found[t].truncated = true;
    return found;
}

LogitMatrix TextScorer::logits_of(const std::vector<std::string>& variants,
                                  const std::vector<std::size_t>& texts) {
    std::vector<std::string> distinct;
    std::unordered_map<std::string, std::size_t> number;
    EmbedRequest request = request_;
    for (std::size_t v = 0; v < variants.size(); ++v) {
        if (!is_readable(variants[v])) continue;
        if (!number.emplace(variants[v], distinct.size()).second) continue;
        distinct.push_back(variants[v]);
        request.indices.push_back(texts[v]);
    }
    std::vector<float> features(distinct.size() * data_.n_features);
    LogitMatrix of_distinct(static_cast<Index>(distinct.size()), static_cast<Index>(n_rows_));
    if (!distinct.empty()) {
        embedder_.embed(distinct, request, features.data());
        decision_function(data_, features.data(), distinct.size(), of_distinct.data());
    }
    LogitMatrix logits(static_cast<Index>(variants.size()), static_cast<Index>(n_rows_));
    for (std::size_t v = 0; v < variants.size(); ++v) {
        const auto found = number.find(variants[v]);
        for (std::size_t row = 0; row < n_rows_; ++row) {
            logits(static_cast<Index>(v), static_cast<Index>(row)) =
                found == number.end()
                    ? data_.intercept[row]
                    : of_distinct(static_cast<Index>(found->second), static_cast<Index>(row));
        }
    }
    return logits;
}

bool TextScorer::is_readable(const std::string& variant) const {
    const auto characters = characters_of(variant);
    if (std::all_of(characters.begin(), characters.end(),
                    [](const Character& one) { return plain_form(one.code).empty(); }))
        return false;
    // Only a few bytes can be one token; to count the tokens of every variant would be much.
    constexpr std::size_t kLongestSingle = 64;
    if (embedder_.model().is_encoder() || !data_.prompt.prefix.empty() || variant.size() > kLongestSingle)
        return true;
    return embedder_.count_tokens(variant, {}) > 1;
}

void TextScorer::add_up_tokens(const std::string& text, const TokenScores& tokens,
                               TextExplanation& found) const {
    const std::vector<TextSpan>& spans = found.spans;
    found.values.assign(spans.size() * n_rows_, 0.0);
    std::vector<double> of_mean(n_rows_, 0.0);
    for (std::size_t k = 0; k < directions_.size(); ++k)
        of_mean[k / data_.n_features] += directions_[k] * data_.mean[k % data_.n_features];
    std::vector<double> own(n_rows_, 0.0);
    std::vector<double> in_spans(n_rows_, 0.0);
    const std::vector<std::size_t> before = solid_before(text);
    for (std::size_t t = 0; t < tokens.places.size(); ++t) {
        const std::vector<double> shares = shares_of(before, tokens.places[t], spans);
        for (std::size_t row = 0; row < n_rows_; ++row) {
            const double value =
                (tokens.scores[t * n_rows_ + row] - of_mean[row]) / static_cast<double>(tokens.n_pooled);
            own[row] += value;
            for (std::size_t i = 0; i < spans.size(); ++i) {
                found.values[i * n_rows_ + row] += shares[i] * value;
                in_spans[row] += shares[i] * value;
            }
        }
    }
    for (std::size_t row = 0; row < n_rows_; ++row) {
        found.base.push_back(found.logits[row] - in_spans[row]);
        found.prompt[row] = found.logits[row] - data_.intercept[row] - own[row];
    }
}

}  // namespace fastplr
