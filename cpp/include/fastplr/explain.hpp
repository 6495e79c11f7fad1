// What each word or phrase of a text says for the classifier's decision.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "fastplr/classifier.hpp"
#include "fastplr/embedder.hpp"
#include "fastplr/words.hpp"

namespace fastplr {

enum class ExplainMethod {
    /// A mean of hidden states makes the logit a sum over tokens; a span has the share of its tokens. One
    /// pass of
    /// the model. Poolings `mean` and `mean_all` only. With a causal model a token's state knows what stands
    /// before
    /// it, so a word's effect on later words counts for these.
    additive,
    /// Logit of the text less that of the text without the span. One pass more than there are spans.
    occlusion,
    /// The slopes of a linear model of what taking spans out does to the logit, fitted near the text: three
    /// quarters
    /// of many spans are kept on average, fewer of few. LIME's idea (Ribeiro et al. 2016), as least squares
    /// over
    /// coalitions (as in the least-square values of Ruiz, Valenciano & Zarzuelo, Games and Economic Behavior
    /// 24, 1998,
    /// but tied to the whole text alone). Exact where all subsets fit the budget, else estimated with
    /// standard errors.
    surrogate,
    /// Shapley values (Shapley 1953) of the game whose players are the spans and whose value is the logit of
    /// the text
    /// with only some of them: exact where all subsets fit the budget, else estimated from paired samples
    /// with
    /// standard errors.
    shapley,
};

/// More variants of one text are not computed: that many coalitions would fill the memory.
inline constexpr std::size_t kLargestBudget = 100000;

/// Variants of a text of `n_spans` spans that `surrogate` and `shapley` compute where no budget is given.
std::size_t default_budget(ExplainMethod method, std::size_t n_spans);

struct ExplainOptions {
    ExplainMethod method = ExplainMethod::surrogate;
    /// `surrogate` and `shapley`: variants of a text that may be computed, the text itself included, 2 to
    /// kLargestBudget. Default: default_budget().
    std::optional<std::size_t> budget;
    /// Of the samples of `surrogate` and `shapley`.
    std::uint64_t seed = 0;
    /// All but `additive`: what stands in the place of a span that is taken out; empty: nothing, and
    /// the white space before it goes too.
    std::string replacement;
    OnLong on_long = OnLong::error;
    /// As in EmbedRequest.
    std::function<void()> on_step;
    std::function<void(std::size_t n_done, std::size_t n_texts)> on_progress;
};

/// Of one text. Rows are those of ClassifierData: one for two classes, else one a class.
struct TextExplanation {
    std::vector<TextSpan> spans;
    /// Row-major [n_spans, n_rows], in logits.
    std::vector<double> values;
    /// As `values`; empty where values are exact.
    std::vector<double> standard_errors;
    /// [n_rows]: of the text as it is.
    std::vector<double> logits;
    /// [n_rows]: but for `occlusion` logits = base + sum of values. `additive`: what no span has: intercept,
    /// prompt, special tokens and gaps between spans. `shapley`: the logit without any span, of a text that
    /// is empty then the intercept; `occlusion` too, whose values do not add up. `surrogate`: what the linear
    /// model says of that.
    std::vector<double> base;
    /// [n_rows]: `additive`: the part of `base` that belongs to prompt and special tokens; else 0.
    std::vector<double> prompt;
    bool truncated = false;
};

/// Explains `texts` by a classifier whose model `embedder` has.
///
/// \param spans for each text the spans that are to be explained, ascending, not empty, without overlap,
/// within the text and between characters; none at all: words_of() each text. What is in no span stays in
/// every variant. Throws InputError (texts, spans, budget, a pooling that is not additive), and as
/// Embedder::embed.
std::vector<TextExplanation> explain(Embedder& embedder, const ClassifierData& data,
                                     const std::vector<std::string>& texts,
                                     const std::vector<std::vector<TextSpan>>& spans = {},
                                     const ExplainOptions& options = {});

}  // namespace fastplr
