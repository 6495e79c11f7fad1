#include "explain/removal_search.hpp"

#include <algorithm>
#include <numeric>
#include <queue>
#include <set>
#include <utility>

#include "explain/surrogate.hpp"

namespace fastplr {
namespace {

/// Sets of each size that are asked for at once.
constexpr std::size_t kAtOnce = 16;

std::size_t n_removed(const Coalition& kept) {
    return static_cast<std::size_t>(std::count(kept.begin(), kept.end(), false));
}

Coalition without(std::size_t n, const std::vector<std::size_t>& removed) {
    Coalition kept(n, true);
    for (const std::size_t i : removed) kept[i] = false;
    return kept;
}

/// n over k, or `most` where it is more.
std::size_t n_subsets(std::size_t n, std::size_t k, std::size_t most) {
    double count = 1.0;
    for (std::size_t i = 1; i <= k; ++i) {
        count *= static_cast<double>(n - i + 1) / static_cast<double>(i);
        if (count > static_cast<double>(most)) return most;
    }
    return static_cast<std::size_t>(count + 0.5);
}

/// Sets of `size` positions of a descending list, those of the largest sums first.
class BestSets {
  public:
    BestSets(std::vector<double> values, std::size_t size) : values_(std::move(values)) {
        std::vector<std::size_t> first(size);
        std::iota(first.begin(), first.end(), std::size_t{0});
        push(std::move(first));
    }

    std::optional<std::vector<std::size_t>> next() {
        if (heap_.empty()) return std::nullopt;
        std::vector<std::size_t> best = heap_.top().second;
        heap_.pop();
        for (std::size_t j = 0; j < best.size(); ++j) {
            const std::size_t bound = j + 1 < best.size() ? best[j + 1] : values_.size();
            if (best[j] + 1 >= bound) continue;
            std::vector<std::size_t> other = best;
            ++other[j];
            push(std::move(other));
        }
        return best;
    }

  private:
    void push(std::vector<std::size_t> positions) {
        if (!seen_.insert(positions).second) return;
        double sum = 0.0;
        for (const std::size_t position : positions) sum += values_[position];
        heap_.emplace(sum, std::move(positions));
    }

    std::vector<double> values_;
    std::priority_queue<std::pair<double, std::vector<std::size_t>>> heap_;
    std::set<std::vector<std::size_t>> seen_;
};

}  // namespace

RemovalSearch::RemovalSearch(double margin, const Eigen::VectorXd& prior, std::size_t budget, bool all_may_go)
    : n_(static_cast<std::size_t>(prior.size())),
      most_(all_may_go || n_ == 0 ? n_ : n_ - 1),
      margin_(margin),
      prior_(prior),
      budget_(budget),
      asked_of_size_(n_ + 1, 0) {
    if (most_ == 0) phase_ = Phase::over;
}

std::vector<Coalition> RemovalSearch::ask() {
    std::vector<Coalition> asked;
    while (asked.empty() && phase_ != Phase::over && left() > 0) {
        switch (phase_) {
            case Phase::first_look:
                asked = first_look();
                break;
            case Phase::prefixes:
                asked = prefixes();
                break;
            case Phase::single_rests:
                asked = single_rests();
                break;
            case Phase::smaller:
                asked = smaller();
                break;
            case Phase::everything:
                asked = everything_smaller();
                break;
            case Phase::over:
                break;
        }
        // A phase that has nothing more to ask gives way to the next one.
        if (asked.empty()) {
            phase_ = next_phase();
            best_before_ = 0;
        }
    }
    return asked;
}

void RemovalSearch::tell(const std::vector<Coalition>& asked, const std::vector<double>& margins) {
    for (std::size_t i = 0; i < asked.size(); ++i) {
        const std::size_t size = n_removed(asked[i]);
        margins_[asked[i]] = margins[i];
        ++asked_of_size_[size];
        if (margins[i] >= 0) continue;
        const std::size_t best_size = best_ ? n_removed_by_best() : n_ + 1;
        if (size < best_size || (best_ && size == best_size && margins[i] < margins_.at(*best_)))
            best_ = asked[i];
    }
}

bool RemovalSearch::is_smallest() const {
    if (!best_) return false;
    for (std::size_t size = 1; size < n_removed_by_best(); ++size)
        if (asked_of_size_[size] < n_subsets(n_, size, budget_ + 1)) return false;
    return true;
}

RemovalSearch::Phase RemovalSearch::next_phase() const {
    switch (phase_) {
        case Phase::first_look:
            return best_ && n_removed_by_best() == 1 ? Phase::over : Phase::prefixes;
        case Phase::prefixes:
            return best_ ? Phase::smaller : Phase::single_rests;
        case Phase::single_rests:
            return best_ ? Phase::smaller : Phase::everything;
        case Phase::smaller:
            return Phase::everything;
        case Phase::everything:
        case Phase::over:
            break;
    }
    return Phase::over;
}

void RemovalSearch::add(Coalition kept, std::vector<Coalition>& asked) {
    if (asked.size() >= left() || margins_.count(kept) != 0) return;
    if (std::find(asked.begin(), asked.end(), kept) == asked.end()) asked.push_back(std::move(kept));
}

std::vector<Coalition> RemovalSearch::first_look() {
    std::vector<Coalition> asked;
    if (!margins_.empty()) return asked;
    if (n_ == 1 || n_ <= budget_ / 2) {
        for (std::size_t i = 0; i < n_; ++i) add(without(n_, {i}), asked);
        return asked;
    }
    for (Coalition& kept : sample_removals(n_, std::max<std::size_t>(budget_ / 2, 1), 0).coalitions)
        add(std::move(kept), asked);
    return asked;
}

/// The spans that matter most, ever more of them; again, with what that told, while it finds smaller sets.
std::vector<Coalition> RemovalSearch::prefixes() {
    std::vector<Coalition> asked;
    const std::size_t found = best_ ? n_removed_by_best() : most_ + 1;
    if (found == best_before_) return asked;
    best_before_ = found;
    const std::vector<std::size_t> ranked = order();
    const std::size_t n_sizes = found - 1;
    for (std::size_t k = 0; k < std::min(kAtOnce, n_sizes); ++k) {
        const std::size_t size = n_sizes <= kAtOnce ? k + 1 : 1 + k * n_sizes / kAtOnce;
        add(without(n_, {ranked.begin(), ranked.begin() + static_cast<std::ptrdiff_t>(size)}), asked);
    }
    return asked;
}

/// One span alone: the largest sets there are.
std::vector<Coalition> RemovalSearch::single_rests() {
    std::vector<Coalition> asked;
    for (std::size_t i = 0; n_ > 1 && i < n_; ++i) {
        Coalition kept(n_, false);
        kept[i] = true;
        add(std::move(kept), asked);
    }
    return asked;
}

/// Each one of the best set put back, and the sets of one span fewer that promise most.
std::vector<Coalition> RemovalSearch::smaller() {
    std::vector<Coalition> asked;
    const std::size_t size = n_removed_by_best();
    if (size == 1 || size == best_before_) return asked;
    best_before_ = size;
    const std::vector<std::size_t> ranked = order();
    for (auto i = ranked.rbegin(); i != ranked.rend(); ++i) {
        if ((*best_)[*i]) continue;
        Coalition kept = *best_;
        kept[*i] = true;
        add(std::move(kept), asked);
    }
    const Eigen::VectorXd values = slopes();
    std::vector<double> descending;
    for (const std::size_t i : ranked) descending.push_back(values[static_cast<Eigen::Index>(i)]);
    BestSets sets(std::move(descending), size - 1);
    for (std::size_t k = 0; k < kAtOnce; ++k) {
        const auto positions = sets.next();
        if (!positions) break;
        std::vector<std::size_t> removed;
        for (const std::size_t position : *positions) removed.push_back(ranked[position]);
        add(without(n_, removed), asked);
    }
    return asked;
}

/// All sets of fewer spans than the best one's, or of any number, the fewest first, where the budget allows.
std::vector<Coalition> RemovalSearch::everything_smaller() {
    std::vector<Coalition> asked;
    const std::size_t end = best_ ? n_removed_by_best() : most_ + 1;
    for (std::size_t size = 1; size < end; ++size) {
        const std::size_t all = n_subsets(n_, size, budget_ + 1);
        if (all - asked_of_size_[size] > left()) return asked;
        if (asked_of_size_[size] == all) continue;
        Coalition removed(n_, false);
        std::fill_n(removed.begin(), size, true);
        do {
            Coalition kept = removed;
            kept.flip();
            add(std::move(kept), asked);
        } while (std::prev_permutation(removed.begin(), removed.end()));
        return asked;
    }
    return asked;
}

std::size_t RemovalSearch::n_removed_by_best() const { return n_removed(*best_); }

Eigen::VectorXd RemovalSearch::slopes() const {
    CoalitionSample sample;
    Eigen::MatrixXd told(static_cast<Eigen::Index>(margins_.size()), 1);
    for (const auto& [kept, margin] : margins_) {
        told(static_cast<Eigen::Index>(sample.coalitions.size()), 0) = margin;
        sample.coalitions.push_back(kept);
        sample.weights.push_back(1.0);
    }
    if (sample.coalitions.empty()) return prior_;
    sample.all = n_ < 30 && sample.coalitions.size() == (std::size_t{1} << n_) - 2;
    return surrogate_values(sample, told, Eigen::RowVectorXd::Constant(1, margin_), prior_).values.col(0);
}

std::vector<std::size_t> RemovalSearch::order() const {
    const Eigen::VectorXd values = slopes();
    std::vector<std::size_t> ranked(n_);
    std::iota(ranked.begin(), ranked.end(), std::size_t{0});
    std::stable_sort(ranked.begin(), ranked.end(), [&](std::size_t a, std::size_t b) {
        return values[static_cast<Eigen::Index>(a)] > values[static_cast<Eigen::Index>(b)];
    });
    return ranked;
}

}  // namespace fastplr
