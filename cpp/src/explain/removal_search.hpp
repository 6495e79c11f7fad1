// The search for a smallest set of spans without which a decision is another one.
#pragma once

#include <Eigen/Core>
#include <cstddef>
#include <map>
#include <optional>
#include <vector>

#include "explain/variants.hpp"

namespace fastplr {

/// Asks in rounds what margins coalitions have, so that the rounds of many texts can be computed together.
class RemovalSearch {
  public:
    /// \param margin of the whole text, >= 0: by how much its decision leads
    /// \param prior [n_spans]: by how much each span may lower the margin when it is taken out; zeros:
    /// nothing is
    ///   known
    /// \param all_may_go whether something is left of the text without any span
    RemovalSearch(double margin, const Eigen::VectorXd& prior, std::size_t budget, bool all_may_go);

    /// The coalitions whose margins are to be told next, none twice; none at all: the search is over.
    std::vector<Coalition> ask();

    /// \param margins of the coalitions asked for: below zero where the decision is another one
    void tell(const std::vector<Coalition>& asked, const std::vector<double>& margins);

    /// The smallest set found, as the spans that are kept.
    const std::optional<Coalition>& best() const { return best_; }

    /// Whether every set of fewer removed spans than best() has was asked for.
    bool is_smallest() const;

    std::size_t n_asked() const { return margins_.size(); }

  private:
    enum class Phase { first_look, prefixes, single_rests, smaller, everything, over };

    /// Adds what was not asked for so far, while the budget lasts.
    void add(Coalition kept, std::vector<Coalition>& asked);
    std::vector<Coalition> first_look();
    std::vector<Coalition> prefixes();
    std::vector<Coalition> single_rests();
    std::vector<Coalition> smaller();
    std::vector<Coalition> everything_smaller();
    Phase next_phase() const;
    std::size_t n_removed_by_best() const;
    /// By how much each span lowers the margin, by all margins told so far.
    Eigen::VectorXd slopes() const;
    /// Spans, those that lower the margin most first.
    std::vector<std::size_t> order() const;
    std::size_t left() const { return budget_ - margins_.size(); }

    std::size_t n_;
    std::size_t most_;  ///< spans that may be removed
    double margin_;
    Eigen::VectorXd prior_;
    std::size_t budget_;
    Phase phase_ = Phase::first_look;
    std::map<Coalition, double> margins_;
    std::vector<std::size_t> asked_of_size_;  ///< by the number of removed spans
    std::optional<Coalition> best_;
    std::size_t best_before_ = 0;  ///< spans removed by best() when the phase last asked; one more than there
                                   ///< may be where there is none
};

}  // namespace fastplr
