// What a classifier says of texts and of variants of them.
#pragma once

#include <Eigen/Core>
#include <functional>
#include <string>
#include <vector>

#include "fastplr/classifier.hpp"
#include "fastplr/embedder.hpp"
#include "fastplr/explain.hpp"

namespace fastplr {

/// One row a text.
using LogitMatrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

/// The spans given for texts, or where there are none at all their words. Throws InputError for texts that
/// are empty or no UTF-8, and for spans that are empty, leave their text, cut a character, or are not
/// ascending.
std::vector<std::vector<TextSpan>> checked_spans(const std::vector<std::string>& texts,
                                                 const std::vector<std::vector<TextSpan>>& given);

class TextScorer {
  public:
    /// Both arguments are to outlive it. Throws InputError where the classifier's features are not the
    /// model's.
    TextScorer(Embedder& embedder, const ClassifierData& data, OnLong on_long, std::function<void()> on_step);

    std::size_t n_rows() const { return n_rows_; }
    bool is_additive() const { return data_.pooling != Pooling::last; }

    /// Spans and logits of texts; with `additive`, which needs is_additive(), also values, base and prompt.
    std::vector<TextExplanation> whole_texts(const std::vector<std::string>& texts,
                                             const std::vector<std::vector<TextSpan>>& spans, bool additive);

    /// Whether a variant has anything to read: not only white space, marks and control characters, and not a
    /// single token at the beginning of what a causal model reads, whose state is that of an attention sink,
    /// far from all others whatever it says.
    bool is_readable(const std::string& variant) const;

    /// Logits of variants, each distinct one computed once; the intercept of one that is not readable.
    ///
    /// \param texts of each variant the number of its text, for error messages
    LogitMatrix logits_of(const std::vector<std::string>& variants, const std::vector<std::size_t>& texts);

  private:
    void add_up_tokens(const std::string& text, const TokenScores& tokens, TextExplanation& found) const;

    Embedder& embedder_;
    const ClassifierData& data_;
    std::size_t n_rows_;
    EmbedRequest request_;
    std::vector<double>
        directions_;  ///< of the logits in features that are not standardised, [n_rows, n_features]
};

}  // namespace fastplr
