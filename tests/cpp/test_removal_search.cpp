// The search for a smallest flipping set, against trying every set.
#include <Eigen/Core>
#include <algorithm>
#include <bit>
#include <functional>
#include <random>
#include <set>

#include "check.hpp"
#include "explain/removal_search.hpp"

using Eigen::VectorXd;
using fastplr::Coalition;
using fastplr::RemovalSearch;

namespace {

using Margin = std::function<double(const Coalition&)>;

std::size_t n_removed(const Coalition& kept) {
    return static_cast<std::size_t>(std::count(kept.begin(), kept.end(), false));
}

/// Runs a search to its end, and checks that it keeps its promises.
RemovalSearch searched(std::size_t n, std::size_t budget, const Margin& margin, bool all_may_go = false) {
    RemovalSearch search(margin(Coalition(n, true)), VectorXd::Zero(static_cast<Eigen::Index>(n)), budget,
                         all_may_go);
    std::set<Coalition> told;
    while (true) {
        const std::vector<Coalition> asked = search.ask();
        if (asked.empty()) break;
        std::vector<double> margins;
        for (const Coalition& kept : asked) {
            CHECK(told.insert(kept).second);
            CHECK(n_removed(kept) > 0 && n_removed(kept) < n + (all_may_go ? 1 : 0));
            margins.push_back(margin(kept));
        }
        search.tell(asked, margins);
    }
    CHECK(search.n_asked() == told.size());
    CHECK(told.size() <= budget);
    if (search.best()) CHECK(margin(*search.best()) < 0);
    return search;
}

/// The size of the smallest set that does it; n where none does.
std::size_t smallest(std::size_t n, const Margin& margin) {
    std::size_t best = n;
    for (std::size_t bits = 1; bits + 1 < std::size_t{1} << n; ++bits) {
        Coalition kept(n);
        for (std::size_t i = 0; i < n; ++i) kept[i] = (bits >> i & 1U) != 0;
        if (margin(kept) < 0) best = std::min(best, n_removed(kept));
    }
    return best;
}

Margin random_margin(std::size_t n, std::mt19937_64& random, double twist) {
    std::normal_distribution<double> normal;
    std::vector<double> own(n);
    std::vector<double> pairs(n * n);
    for (double& value : own) value = normal(random);
    for (double& value : pairs) value = twist * normal(random);
    double all = 0.0;
    const auto raw = [own, pairs, n](const Coalition& kept) {
        double value = 0.0;
        for (std::size_t i = 0; i < n; ++i) {
            if (!kept[i]) continue;
            value += own[i];
            for (std::size_t j = i + 1; j < n; ++j) value += kept[j] ? pairs[i * n + j] : 0.0;
        }
        return value;
    };
    all = raw(Coalition(n, true));
    const double lead = std::abs(normal(random)) * 2 + 0.1;
    return [raw, all, lead](const Coalition& kept) { return raw(kept) - all + lead; };
}

}  // namespace

TEST_CASE("with a budget for every set the smallest is found and known to be") {
    std::mt19937_64 random(1);
    for (int trial = 0; trial < 200; ++trial) {
        const std::size_t n = 2 + trial % 7;
        const Margin margin = random_margin(n, random, 0.5);
        const RemovalSearch search = searched(n, std::size_t{1} << n, margin);
        const std::size_t want = smallest(n, margin);
        if (want == n) {
            // Not all sets are asked for where nothing does it; those it never asked for are none of its
            // promises.
            CHECK(!search.best());
            CHECK(!search.is_smallest());
            continue;
        }
        if (!search.best()) continue;
        CHECK(n_removed(*search.best()) == want);
        CHECK(search.is_smallest());
    }
}

TEST_CASE("what is said to be the smallest is, and most are, with far fewer than all") {
    std::mt19937_64 random(2);
    int right = 0;
    int total = 0;
    for (int trial = 0; trial < 60; ++trial) {
        const Margin margin = random_margin(14, random, 0.15);
        const RemovalSearch search = searched(14, 120, margin);
        const std::size_t want = smallest(14, margin);
        if (want == 14) continue;
        ++total;
        if (!search.best()) continue;  // counts as not right below
        if (search.is_smallest()) CHECK(n_removed(*search.best()) == want);
        right += n_removed(*search.best()) == want ? 1 : 0;
    }
    CHECK(total > 40);
    CHECK(right > total * 9 / 10);
}

TEST_CASE("many spans, a small budget, one span, a decision that nothing changes") {
    const auto by_count = [](std::size_t n, std::size_t needed) {
        return [n, needed](const Coalition& kept) {
            return static_cast<double>(needed) - 0.5 - static_cast<double>(n_removed(kept)) +
                   0.0 * static_cast<double>(n);
        };
    };
    CHECK(n_removed(*searched(2000, 100, by_count(2000, 1900)).best()) >= 1900);
    CHECK(n_removed(*searched(30, 200, by_count(30, 12)).best()) == 12);
    const RemovalSearch none = searched(40, 150, [](const Coalition&) { return 1.0; });
    CHECK(!none.best() && !none.is_smallest());
    CHECK(!searched(1, 10, [](const Coalition&) { return -1.0; }).best());
    CHECK(searched(5, 1, [](const Coalition&) { return 1.0; }).n_asked() == 1);
    const RemovalSearch alone =
        searched(1, 10, [](const Coalition& kept) { return kept[0] ? 1.0 : -1.0; }, true);
    CHECK(alone.best() && alone.is_smallest());
    const auto all_gone = [](const Coalition& kept) { return n_removed(kept) == 4 ? -1.0 : 1.0; };
    CHECK(!searched(4, 100, all_gone).best());
    CHECK(n_removed(*searched(4, 100, all_gone, true).best()) == 4);
    const RemovalSearch one = searched(6, 100, [](const Coalition& kept) { return kept[4] ? 1.0 : -1.0; });
    CHECK(one.is_smallest() && n_removed(*one.best()) == 1 && !(*one.best())[4]);
}
