#include "fastplr/explain.hpp"

#include <algorithm>
#include <cmath>
#include <string>
#include <unordered_map>

#include "embedding/text.hpp"
#include "explain/characters.hpp"
#include "explain/shapley.hpp"
#include "explain/surrogate.hpp"
#include "explain/variants.hpp"

namespace fastplr {
namespace {

using Eigen::Index;
using RowMajor = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

/// Variants that are embedded at once, so that their features stay within some tens of megabytes.
constexpr std::size_t kVariantsAtOnce = 4096;

std::string place(const TextSpan& span) {
    return "[" + std::to_string(span.begin) + ", " + std::to_string(span.end) + ")";
}

void check_spans(const std::string& text, const std::vector<TextSpan>& spans, std::size_t index) {
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

/// Whether nothing is left that a model could read.
bool says_nothing(const std::string& text) {
    const auto characters = characters_of(text);
    return std::all_of(characters.begin(), characters.end(),
                       [](const Character& one) { return plain_form(one.code).empty(); });
}

class Explaining {
  public:
    Explaining(Embedder& embedder, const ClassifierData& data, const ExplainOptions& options)
        : embedder_(embedder), data_(data), options_(options), n_rows_(data.n_rows()) {
        request_.layers = {data.layer};
        request_.poolings = {data.pooling};
        request_.prompt = data.prompt;
        request_.on_long = options.on_long;
        request_.on_step = options.on_step;
        if (options.method == ExplainMethod::additive && data.pooling == Pooling::last) {
            throw InputError(
                "pooling is 'last': its logit is no sum over tokens; expected the method 'occlusion', "
                "'surrogate' or 'shapley'");
        }
        if (options.budget && *options.budget < 2)
            throw InputError("budget is " + std::to_string(*options.budget) + ": expected 2 or more");
        if (data.n_features != static_cast<std::size_t>(embedder.model().n_embd())) {
            throw InputError("the classifier has " + std::to_string(data.n_features) +
                             " features: expected the model's " + std::to_string(embedder.model().n_embd()));
        }
        if (data.pooling != Pooling::last && options.method != ExplainMethod::occlusion) {
            for (std::size_t k = 0; k < data.coef.size(); ++k)
                directions_.push_back(data.coef[k] / data.scale[k % data.n_features]);
        }
    }

    /// Logits, and shares of tokens where they are additive.
    std::vector<TextExplanation> whole_texts(const std::vector<std::string>& texts,
                                             const std::vector<std::vector<TextSpan>>& spans) {
        EmbedRequest request = request_;
        std::vector<TokenScores> scores;
        if (!directions_.empty()) {
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
            if (!directions_.empty()) add_up_tokens(texts[t], scores[t], found[t]);
        }
        for (const std::size_t t : result.truncated) found[t].truncated = true;
        return found;
    }

    /// Logits [variants, n_rows]; of a text that says nothing the intercept.
    RowMajor logits_of(const std::vector<std::string>& variants) {
        std::vector<std::string> distinct;
        std::unordered_map<std::string, std::size_t> number;
        for (const std::string& one : variants) {
            if (!says_nothing(one) && number.emplace(one, distinct.size()).second) distinct.push_back(one);
        }
        std::vector<float> features(distinct.size() * data_.n_features);
        RowMajor of_distinct(static_cast<Index>(distinct.size()), static_cast<Index>(n_rows_));
        if (!distinct.empty()) {
            embedder_.embed(distinct, request_, features.data());
            decision_function(data_, features.data(), distinct.size(), of_distinct.data());
        }
        RowMajor logits(static_cast<Index>(variants.size()), static_cast<Index>(n_rows_));
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

    /// What is to be computed of a text beside itself.
    CoalitionSample sample_of(std::size_t n_spans) const {
        const std::size_t budget = options_.budget.value_or(default_budget(options_.method, n_spans));
        if (options_.method == ExplainMethod::surrogate)
            return sample_removals(n_spans, budget - 1, options_.seed);
        CoalitionSample sample;
        if (options_.method == ExplainMethod::shapley) {
            sample = sample_coalitions(n_spans, budget - 2, options_.seed);
        } else {
            for (std::size_t i = 0; i < n_spans; ++i) {
                sample.coalitions.emplace_back(n_spans, true);
                sample.coalitions.back()[i] = false;
            }
        }
        return sample;
    }

    /// Whether the logit without any span is needed too.
    bool needs_none() const { return options_.method != ExplainMethod::surrogate; }

    /// Turns the logits of a text's empty variant, where it is needed, and of its coalitions into its
    /// explanation.
    void finish(const CoalitionSample& sample, const RowMajor& logits, TextExplanation& text) const {
        const auto n = static_cast<Index>(text.spans.size());
        const auto rows = static_cast<Index>(n_rows_);
        if (n == 0) {
            text.base = text.logits;
            return;
        }
        const Eigen::Map<const Eigen::RowVectorXd> all(text.logits.data(), rows);
        const RowMajor prior = text.values.empty()
                                   ? RowMajor(RowMajor::Zero(n, rows))
                                   : RowMajor(Eigen::Map<const RowMajor>(text.values.data(), n, rows));
        text.prompt.assign(n_rows_, 0.0);
        text.values.assign(static_cast<std::size_t>(n * rows), 0.0);
        Eigen::Map<RowMajor> values(text.values.data(), n, rows);
        const auto keep_errors = [&](const Eigen::MatrixXd& errors) {
            if (errors.size() == 0) return;
            text.standard_errors.resize(text.values.size());
            Eigen::Map<RowMajor>(text.standard_errors.data(), n, rows) = errors;
        };
        if (options_.method == ExplainMethod::surrogate) {
            const SurrogateValues found = surrogate_values(sample, logits, all, prior);
            values = found.values;
            keep_errors(found.standard_errors);
            const Eigen::RowVectorXd base = all - values.colwise().sum();
            text.base.assign(base.data(), base.data() + rows);
            return;
        }
        text.base.assign(logits.data(), logits.data() + rows);
        if (options_.method == ExplainMethod::occlusion) {
            for (Index i = 0; i < n; ++i) values.row(i) = all - logits.row(i + 1);
            return;
        }
        const RowMajor of_sample = logits.bottomRows(logits.rows() - 1);
        if (sample.all || n == 1) {
            Eigen::MatrixXd of_coalition(Index{1} << n, rows);
            of_coalition.row(0) = logits.row(0);
            of_coalition.row((Index{1} << n) - 1) = all;
            for (std::size_t c = 0; c < sample.coalitions.size(); ++c) {
                Index bits = 0;
                for (Index i = 0; i < n; ++i)
                    bits |= Index{sample.coalitions[c][static_cast<std::size_t>(i)]} << i;
                of_coalition.row(bits) = of_sample.row(static_cast<Index>(c));
            }
            values = exact_shapley_values(of_coalition);
            return;
        }
        const ShapleyValues found = estimate_shapley_values(sample, of_sample, logits.row(0), all, prior);
        values = found.values;
        keep_errors(found.standard_errors);
    }

  private:
    /// Puts the shares of the tokens together to those of the spans.
    void add_up_tokens(const std::string& text, const TokenScores& tokens, TextExplanation& found) const {
        const std::vector<TextSpan>& spans = found.spans;
        found.values.assign(spans.size() * n_rows_, 0.0);
        std::vector<double> of_mean(n_rows_, 0.0);
        for (std::size_t k = 0; k < directions_.size(); ++k)
            of_mean[k / data_.n_features] += directions_[k] * data_.mean[k % data_.n_features];
        std::vector<double> own(n_rows_, 0.0);
        std::vector<double> in_spans(n_rows_, 0.0);
        for (std::size_t t = 0; t < tokens.places.size(); ++t) {
            const std::vector<double> shares = shares_of(text, tokens.places[t], spans);
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

    /// What part of a token belongs to each span: by its bytes that are no white space. A token of white
    /// space alone, or of no bytes, belongs to the span that follows it, at the end to the last one, unless
    /// text that is in no span is between.
    static std::vector<double> shares_of(const std::string& text, const TextSpan& token,
                                         const std::vector<TextSpan>& spans) {
        std::vector<double> shares(spans.size(), 0.0);
        const auto solid = [&](std::size_t begin, std::size_t end) {
            std::size_t n = 0;
            for (std::size_t i = begin; i < end; ++i)
                n += (text[i] == ' ' || text[i] == '\n' || text[i] == '\t') ? 0 : 1;
            return n;
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
        if (next != spans.end() && (next->begin <= token.end || solid(token.end, next->begin) == 0)) {
            shares[static_cast<std::size_t>(next - spans.begin())] = 1.0;
        } else if (next != spans.begin() && solid((next - 1)->end, token.begin) == 0) {
            shares[static_cast<std::size_t>(next - 1 - spans.begin())] = 1.0;
        }
        return shares;
    }

    Embedder& embedder_;
    const ClassifierData& data_;
    const ExplainOptions& options_;
    std::size_t n_rows_;
    EmbedRequest request_;
    std::vector<double> directions_;
};

}  // namespace

std::size_t default_budget(ExplainMethod method, std::size_t n_spans) {
    if (method == ExplainMethod::shapley) return 64;
    return std::clamp<std::size_t>(n_spans, 24, 64);
}

std::vector<TextExplanation> explain(Embedder& embedder, const ClassifierData& data,
                                     const std::vector<std::string>& texts,
                                     const std::vector<std::vector<TextSpan>>& given_spans,
                                     const ExplainOptions& options) {
    if (!given_spans.empty() && given_spans.size() != texts.size()) {
        throw InputError("spans are given for " + std::to_string(given_spans.size()) + " texts: expected " +
                         std::to_string(texts.size()));
    }
    check_texts(texts);
    std::vector<std::vector<TextSpan>> spans;
    for (std::size_t t = 0; t < texts.size(); ++t) {
        spans.push_back(given_spans.empty() ? words_of(texts[t]) : given_spans[t]);
        check_spans(texts[t], spans.back(), t);
    }
    Explaining explaining(embedder, data, options);
    std::vector<TextExplanation> found = explaining.whole_texts(texts, spans);
    const auto done = [&](std::size_t n) {
        if (options.on_progress) options.on_progress(n, texts.size());
    };
    if (options.method == ExplainMethod::additive) {
        done(texts.size());
        return found;
    }
    for (std::size_t first = 0; first < texts.size();) {
        std::vector<CoalitionSample> samples;
        std::vector<std::string> variants;
        std::size_t end = first;
        while (end < texts.size() && (end == first || variants.size() < kVariantsAtOnce)) {
            samples.push_back(explaining.sample_of(spans[end].size()));
            const auto add = [&](const Coalition& kept) {
                variants.push_back(text_with(texts[end], spans[end], kept, options.replacement));
            };
            if (explaining.needs_none()) add(Coalition(spans[end].size(), false));
            for (const Coalition& kept : samples.back().coalitions) add(kept);
            ++end;
        }
        const RowMajor logits = explaining.logits_of(variants);
        Index row = 0;
        for (std::size_t t = first; t < end; ++t) {
            const auto n =
                static_cast<Index>(samples[t - first].coalitions.size()) + (explaining.needs_none() ? 1 : 0);
            explaining.finish(samples[t - first], logits.middleRows(row, n), found[t]);
            row += n;
        }
        first = end;
        done(end);
    }
    return found;
}

}  // namespace fastplr
