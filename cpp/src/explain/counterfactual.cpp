#include "fastplr/counterfactual.hpp"

#include <algorithm>
#include <map>
#include <string>

#include "explain/removal_search.hpp"
#include "explain/text_scorer.hpp"
#include "explain/variants.hpp"

namespace fastplr {
namespace {

using Eigen::Index;
using Eigen::VectorXd;

/// Texts that are searched at once, so that a round's variants stay within some thousands.
constexpr std::size_t kTextsAtOnce = 64;

class Deciding {
  public:
    explicit Deciding(const ClassifierData& data) : data_(data) {}

    /// The most probable label, the first of equals.
    std::size_t label(const double* logits) const {
        std::vector<double> shares(data_.n_classes());
        probabilities(data_, logits, 1, shares.data());
        return static_cast<std::size_t>(std::max_element(shares.begin(), shares.end()) - shares.begin());
    }

    /// By how much `label` leads in calibrated logits, with the prior's ratio; below zero where it is not the
    /// most probable one.
    double margin(const double* logits, std::size_t label) const {
        const double lead = own(logits, label) - own(logits, rival(logits, label));
        // Of equals the first is the decision.
        if (lead == 0.0 && this->label(logits) != label) return -0x1p-1000;
        return lead;
    }

    /// By how much taking each span out may lower that margin: `values` [n_spans, n_rows] of the logits.
    VectorXd lowered(const TextExplanation& text, std::size_t label) const {
        const auto n = static_cast<Index>(text.spans.size());
        if (text.values.empty()) return VectorXd::Zero(n);
        const std::size_t other = rival(text.logits.data(), label);
        VectorXd values(n);
        for (Index i = 0; i < n; ++i) {
            const double* row = text.values.data() + static_cast<std::size_t>(i) * data_.n_rows();
            values[i] = (logit(row, label) - logit(row, other)) / data_.temperature;
        }
        return values;
    }

  private:
    double logit(const double* logits, std::size_t label) const {
        return data_.n_rows() == 1 ? (label == 1 ? logits[0] : 0.0) : logits[label];
    }

    double own(const double* logits, std::size_t label) const {
        return logit(logits, label) / data_.temperature +
               (data_.log_prior_ratio.empty() ? 0.0 : data_.log_prior_ratio[label]);
    }

    /// The most probable label but `label`.
    std::size_t rival(const double* logits, std::size_t label) const {
        std::size_t best = label == 0 ? 1 : 0;
        for (std::size_t other = 0; other < data_.n_classes(); ++other)
            if (other != label && own(logits, other) > own(logits, best)) best = other;
        return best;
    }

    const ClassifierData& data_;
};

/// One text's search.
struct Searched {
    std::size_t text = 0;
    std::size_t label = 0;
    RemovalSearch search;
    std::map<Coalition, std::vector<double>> logits;  ///< of sets that do it
};

}  // namespace

std::vector<Counterfactual> find_counterfactuals(Embedder& embedder, const ClassifierData& data,
                                                 const std::vector<std::string>& texts,
                                                 const std::vector<std::vector<TextSpan>>& given_spans,
                                                 const CounterfactualOptions& options) {
    if (options.budget < 1 || options.budget > kLargestBudget) {
        throw InputError("budget is " + std::to_string(options.budget) + ": expected 1 to " +
                         std::to_string(kLargestBudget));
    }
    const std::vector<std::vector<TextSpan>> spans = checked_spans(texts, given_spans);
    TextScorer scorer(embedder, data, options.on_long, options.on_step);
    const std::vector<TextExplanation> whole = scorer.whole_texts(texts, spans, scorer.is_additive());
    const Deciding deciding(data);
    std::vector<Counterfactual> found(texts.size());
    for (std::size_t first = 0; first < texts.size(); first += kTextsAtOnce) {
        const std::size_t end = std::min(texts.size(), first + kTextsAtOnce);
        std::vector<Searched> searches;
        for (std::size_t t = first; t < end; ++t) {
            const std::size_t label = deciding.label(whole[t].logits.data());
            const double margin = deciding.margin(whole[t].logits.data(), label);
            const Coalition none(spans[t].size(), false);
            const bool all_may_go = scorer.is_readable(text_with(texts[t], spans[t], none, ""));
            searches.push_back(
                {t,
                 label,
                 RemovalSearch(margin, deciding.lowered(whole[t], label), options.budget, all_may_go),
                 {}});
        }
        while (true) {
            std::vector<std::vector<Coalition>> asked;
            std::vector<std::string> variants;
            std::vector<std::size_t> of_texts;
            for (Searched& one : searches) {
                asked.push_back(one.search.ask());
                for (const Coalition& kept : asked.back())
                    variants.push_back(
                        text_with(texts[one.text], spans[one.text], kept, options.replacement));
                of_texts.resize(variants.size(), one.text);
            }
            if (variants.empty()) break;
            const LogitMatrix logits = scorer.logits_of(variants, of_texts);
            Index row = 0;
            for (std::size_t s = 0; s < searches.size(); ++s) {
                std::vector<double> margins;
                for (const Coalition& kept : asked[s]) {
                    const double* own = logits.row(row).data();
                    margins.push_back(deciding.margin(own, searches[s].label));
                    // Not an answer: predicting it would be refused, or be about nothing.
                    if (!scorer.is_readable(variants[static_cast<std::size_t>(row++)]))
                        margins.back() = std::max(margins.back(), 0.0);
                    if (margins.back() < 0)
                        searches[s].logits[kept].assign(own,
                                                        own + static_cast<std::ptrdiff_t>(scorer.n_rows()));
                }
                searches[s].search.tell(asked[s], margins);
            }
        }
        for (Searched& one : searches) {
            Counterfactual& result = found[one.text];
            result.spans = spans[one.text];
            result.logits = whole[one.text].logits;
            result.truncated = whole[one.text].truncated;
            result.n_tried = one.search.n_asked();
            if (!one.search.best()) continue;
            const Coalition& kept = *one.search.best();
            for (std::size_t i = 0; i < kept.size(); ++i)
                if (!kept[i]) result.removed.push_back(i);
            result.text_without = text_with(texts[one.text], spans[one.text], kept, options.replacement);
            result.logits_without = one.logits.at(kept);
            result.smallest = one.search.is_smallest();
        }
        if (options.on_progress) options.on_progress(end, texts.size());
    }
    return found;
}

}  // namespace fastplr
