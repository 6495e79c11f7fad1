#include "fastplr/explain.hpp"

#include <algorithm>
#include <string>
#include <utility>

#include "explain/shapley.hpp"
#include "explain/surrogate.hpp"
#include "explain/text_scorer.hpp"
#include "explain/variants.hpp"

namespace fastplr {
namespace {

using Eigen::Index;

/// Variants that are embedded at once, so that their features stay within some tens of megabytes.
constexpr std::size_t kVariantsAtOnce = 4096;

class Explaining {
  public:
    Explaining(Embedder& embedder, const ClassifierData& data, const ExplainOptions& options)
        : options_(options), scorer_(embedder, data, options.on_long, options.on_step) {
        if (options.method == ExplainMethod::additive && !scorer_.is_additive()) {
            throw InputError(
                "pooling is 'last': its logit is no sum over tokens; expected the method 'occlusion', "
                "'surrogate' or 'shapley'");
        }
        if (options.budget && (*options.budget < 2 || *options.budget > kLargestBudget)) {
            throw InputError("budget is " + std::to_string(*options.budget) + ": expected 2 to " +
                             std::to_string(kLargestBudget));
        }
    }

    std::vector<TextExplanation> whole_texts(const std::vector<std::string>& texts,
                                             const std::vector<std::vector<TextSpan>>& spans) {
        return scorer_.whole_texts(texts, spans,
                                   scorer_.is_additive() && options_.method != ExplainMethod::occlusion);
    }

    LogitMatrix logits_of(const std::vector<std::string>& variants, const std::vector<std::size_t>& texts) {
        return scorer_.logits_of(variants, texts);
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
    void finish(const CoalitionSample& sample, const LogitMatrix& logits, TextExplanation& text) const {
        const auto n = static_cast<Index>(text.spans.size());
        const auto rows = static_cast<Index>(scorer_.n_rows());
        if (n == 0) {
            text.base = text.logits;
            return;
        }
        const Eigen::Map<const Eigen::RowVectorXd> all(text.logits.data(), rows);
        const LogitMatrix prior =
            text.values.empty() ? LogitMatrix(LogitMatrix::Zero(n, rows))
                                : LogitMatrix(Eigen::Map<const LogitMatrix>(text.values.data(), n, rows));
        text.prompt.assign(scorer_.n_rows(), 0.0);
        text.values.assign(static_cast<std::size_t>(n * rows), 0.0);
        Eigen::Map<LogitMatrix> values(text.values.data(), n, rows);
        const auto keep_errors = [&](const Eigen::MatrixXd& errors) {
            if (errors.size() == 0) return;
            text.standard_errors.resize(text.values.size());
            Eigen::Map<LogitMatrix>(text.standard_errors.data(), n, rows) = errors;
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
        const LogitMatrix of_sample = logits.bottomRows(logits.rows() - 1);
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
    const ExplainOptions& options_;
    TextScorer scorer_;
};

}  // namespace

std::size_t default_budget(ExplainMethod method, std::size_t n_spans) {
    if (method == ExplainMethod::shapley) return 64;
    return std::clamp<std::size_t>((2 * n_spans + 2) / 3, 16, 64);
}

std::vector<TextExplanation> explain(Embedder& embedder, const ClassifierData& data,
                                     const std::vector<std::string>& texts,
                                     const std::vector<std::vector<TextSpan>>& given_spans,
                                     const ExplainOptions& options) {
    const std::vector<std::vector<TextSpan>> spans = checked_spans(texts, given_spans);
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
        std::vector<std::pair<std::size_t, Coalition>> wanted;  // numbers of texts, and what is kept of them
        std::size_t end = first;
        while (end < texts.size() && (end == first || wanted.size() < kVariantsAtOnce)) {
            samples.push_back(explaining.sample_of(spans[end].size()));
            if (explaining.needs_none()) wanted.emplace_back(end, Coalition(spans[end].size(), false));
            for (const Coalition& kept : samples.back().coalitions) wanted.emplace_back(end, kept);
            ++end;
        }
        LogitMatrix logits(static_cast<Index>(wanted.size()), static_cast<Index>(data.n_rows()));
        for (std::size_t begin = 0; begin < wanted.size(); begin += kVariantsAtOnce) {
            std::vector<std::string> variants;
            std::vector<std::size_t> of_texts;
            for (std::size_t w = begin; w < std::min(begin + kVariantsAtOnce, wanted.size()); ++w) {
                const auto& [t, kept] = wanted[w];
                variants.push_back(text_with(texts[t], spans[t], kept, options.replacement));
                of_texts.push_back(t);
            }
            logits.middleRows(static_cast<Index>(begin), static_cast<Index>(variants.size())) =
                explaining.logits_of(variants, of_texts);
        }
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
