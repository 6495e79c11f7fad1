// Which words of a text have to go for the classifier to decide otherwise.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

#include "fastplr/classifier.hpp"
#include "fastplr/embedder.hpp"
#include "fastplr/explain.hpp"
#include "fastplr/words.hpp"

namespace fastplr {

struct CounterfactualOptions {
    /// Variants of a text that may be computed beside the text itself, 1 to kLargestBudget.
    std::size_t budget = 200;
    /// What stands in the place of a span that is taken out; empty: nothing, and the white space before it
    /// goes too.
    std::string replacement;
    OnLong on_long = OnLong::error;
    /// As in EmbedRequest.
    std::function<void()> on_step;
    std::function<void(std::size_t n_done, std::size_t n_texts)> on_progress;
};

/// Of one text. Rows are those of ClassifierData: one for two classes, else one a class.
struct Counterfactual {
    std::vector<TextSpan> spans;
    /// Positions of the spans without which the most probable label is another one, ascending; empty where no
    /// such set was found. Never all spans.
    std::vector<std::size_t> removed;
    std::string text_without;            ///< the text without them; empty where none was found
    std::vector<double> logits;          ///< [n_rows]: of the text as it is
    std::vector<double> logits_without;  ///< [n_rows]: of `text_without`; empty where none was found
    bool smallest = false;               ///< whether every smaller set was tried
    std::size_t n_tried = 0;             ///< variants
    bool truncated = false;              ///< the text was cut to fit the context
};

/// The smallest sets of spans that were found whose removal changes the most probable label of each text.
///
/// Every single span is tried first (of many, a sample of sets), then the spans that a linear model of what
/// is known so far says to matter most, more and more of them; a set that does it is made smaller while the
/// budget lasts.
///
/// \param spans as of explain(). Throws InputError (texts, spans, budget), and as Embedder::embed.
std::vector<Counterfactual> find_counterfactuals(Embedder& embedder, const ClassifierData& data,
                                                 const std::vector<std::string>& texts,
                                                 const std::vector<std::vector<TextSpan>>& spans = {},
                                                 const CounterfactualOptions& options = {});

}  // namespace fastplr
