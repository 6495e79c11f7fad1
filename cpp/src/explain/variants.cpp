#include "explain/variants.hpp"

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <random>
#include <set>

#include "explain/characters.hpp"

namespace fastplr {
namespace {

bool is_blank(const std::string& text) {
    const auto characters = characters_of(text);
    return std::all_of(characters.begin(), characters.end(),
                       [](const Character& one) { return is_space(one.code); });
}

std::string stripped(const std::string& text) {
    const auto characters = characters_of(text);
    std::size_t first = 0;
    std::size_t last = characters.size();
    while (first < last && is_space(characters[first].code)) ++first;
    while (last > first && is_space(characters[last - 1].code)) --last;
    if (first == last) return {};
    return text.substr(characters[first].begin, characters[last - 1].end - characters[first].begin);
}

/// A whole number below `bound`, the same with every standard library.
std::size_t draw(std::mt19937_64& random, std::size_t bound) {
    return static_cast<std::size_t>(random() % bound);
}

/// In [0, 1), likewise.
double draw_share(std::mt19937_64& random) { return static_cast<double>(random() >> 11U) * 0x1p-53; }

void shuffle(std::vector<std::size_t>& numbers, std::mt19937_64& random) {
    for (std::size_t i = numbers.size(); i > 1; --i) std::swap(numbers[i - 1], numbers[draw(random, i)]);
}

std::vector<std::size_t> numbers_to(std::size_t n) {
    std::vector<std::size_t> numbers(n);
    std::iota(numbers.begin(), numbers.end(), std::size_t{0});
    return numbers;
}

/// Whether there are at most `budget` subsets of `n` but the full and the empty one.
bool all_fit(std::size_t n, std::size_t budget) { return n < 30 && (std::size_t{1} << n) - 2 <= budget; }

/// Deals spans in turns, as cards of a deck that is shuffled anew when it is used up.
class Deck {
  public:
    Deck(std::size_t n, std::mt19937_64& random) : n_(n), random_(random) {}

    /// Everything but `n_removed` < n spans.
    Coalition without(std::size_t n_removed) {
        Coalition kept(n_, true);
        for (std::size_t i = 0; i < n_removed; ++i) {
            // The topmost card that is not out already: those are few.
            auto card =
                std::find_if(cards_.rbegin(), cards_.rend(), [&](std::size_t one) { return kept[one]; });
            if (card == cards_.rend()) {
                std::vector<std::size_t> anew = numbers_to(n_);
                shuffle(anew, random_);
                anew.insert(anew.end(), cards_.begin(), cards_.end());
                cards_ = std::move(anew);
                card =
                    std::find_if(cards_.rbegin(), cards_.rend(), [&](std::size_t one) { return kept[one]; });
            }
            kept[*card] = false;
            cards_.erase(std::next(card).base());
        }
        return kept;
    }

  private:
    std::size_t n_;
    std::mt19937_64& random_;
    std::vector<std::size_t> cards_;
};

}  // namespace

std::string text_with(const std::string& text, const std::vector<TextSpan>& spans, const Coalition& kept,
                      const std::string& replacement) {
    std::string result;
    std::size_t at = 0;
    bool any_left_out = false;
    for (std::size_t i = 0; i < spans.size(); ++i) {
        const std::string gap = text.substr(at, spans[i].begin - at);
        at = spans[i].end;
        if (kept[i]) {
            if (!(any_left_out && result.empty() && is_blank(gap))) result += gap;
            result += text.substr(spans[i].begin, spans[i].end - spans[i].begin);
            continue;
        }
        any_left_out = true;
        if (replacement.empty() && is_blank(gap)) continue;
        result += gap + replacement;
    }
    result += text.substr(at);
    return any_left_out && replacement.empty() ? stripped(result) : result;
}

CoalitionSample sample_coalitions(std::size_t n, std::size_t budget, std::uint64_t seed) {
    CoalitionSample sample;
    sample.all = all_fit(n, budget);
    if (sample.all) {
        for (std::size_t bits = 1; bits + 1 < std::size_t{1} << n; ++bits) {
            Coalition coalition(n);
            for (std::size_t i = 0; i < n; ++i) coalition[i] = (bits >> i & 1U) != 0;
            sample.coalitions.push_back(std::move(coalition));
        }
        sample.weights.assign(sample.coalitions.size(), 1.0);
        return sample;
    }
    const auto add = [&](Coalition small, double weight) {
        Coalition rest = small;
        rest.flip();
        sample.coalitions.push_back(std::move(small));
        sample.coalitions.push_back(std::move(rest));
        sample.weights.insert(sample.weights.end(), 2, weight);
    };
    // By the size of the smaller of a pair: the kernel's share of all pairs, and how many there are.
    std::vector<double> share(n / 2 + 1, 0.0);
    std::vector<double> n_pairs(n / 2 + 1, 1.0);
    double total = 0.0;
    double subsets = 1.0;
    for (std::size_t size = 1; size <= n / 2; ++size) {
        const double half = 2 * size == n ? 0.5 : 1.0;
        subsets *= static_cast<double>(n - size + 1) / static_cast<double>(size);
        n_pairs[size] = half * subsets;
        share[size] = half / static_cast<double>(size * (n - size));
        total += share[size];
    }
    std::size_t pairs_left = budget / 2;
    double left = total;
    std::size_t size = 1;
    for (; size <= n / 2; ++size) {
        if (n_pairs[size] > static_cast<double>(pairs_left) * share[size] / left) break;
        Coalition members(n);
        std::fill_n(members.begin(), size, true);
        do {
            if (2 * size < n || members[0]) add(members, share[size] / n_pairs[size]);
        } while (std::prev_permutation(members.begin(), members.end()));
        pairs_left -= static_cast<std::size_t>(n_pairs[size] + 0.5);
        left -= share[size];
    }
    const std::size_t n_whole = sample.coalitions.size();
    std::mt19937_64 random(seed);
    std::vector<std::size_t> order = numbers_to(n);
    std::set<Coalition> drawn;
    // A pair that was drawn already is drawn again, at most so often.
    for (std::size_t attempt = 0; size <= n / 2 && drawn.size() < 2 * pairs_left && attempt < 20 * budget;
         ++attempt) {
        double at = left * draw_share(random);
        std::size_t chosen = size;
        while (chosen < n / 2 && at >= share[chosen]) at -= share[chosen++];
        Coalition small(n);
        for (std::size_t i = 0; i < chosen; ++i) {
            std::swap(order[i], order[i + draw(random, n - i)]);
            small[order[i]] = true;
        }
        Coalition rest = small;
        rest.flip();
        if (!drawn.insert(small).second) continue;
        drawn.insert(rest);
        add(std::move(small), 0.0);
    }
    const std::size_t n_drawn = sample.coalitions.size() - n_whole;
    for (std::size_t i = n_whole; i < sample.weights.size(); ++i)
        sample.weights[i] = 2.0 * left / static_cast<double>(n_drawn);
    double sum = 0.0;
    for (const double weight : sample.weights) sum += weight;
    for (double& weight : sample.weights) weight *= static_cast<double>(sample.weights.size()) / sum;
    return sample;
}

CoalitionSample sample_removals(std::size_t n, std::size_t budget, std::uint64_t seed) {
    CoalitionSample sample;
    if (n == 0) return sample;
    if (n == 1) return {{Coalition(1, false)}, {1.0}, true};
    sample.all = all_fit(n, budget);
    // By the number of spans that are taken out: their share, and how many such coalitions there are.
    std::vector<double> share(n, 0.0);
    std::vector<double> n_of_size(n, 1.0);
    double left = 0.0;
    for (std::size_t size = 1; size < n; ++size) {
        n_of_size[size] = n_of_size[size - 1] * static_cast<double>(n - size + 1) / static_cast<double>(size);
        share[size] = static_cast<double>((n - size) * (n - size));
        left += share[size];
    }
    // Sizes of which that share of the budget would take every coalition are taken whole.
    std::size_t size = 1;
    for (std::size_t n_left = budget; size < n; ++size) {
        if (!sample.all && n_of_size[size] > static_cast<double>(n_left) * share[size] / left) break;
        Coalition removed(n);
        std::fill_n(removed.begin(), size, true);
        do {
            Coalition kept = removed;
            kept.flip();
            sample.coalitions.push_back(std::move(kept));
            sample.weights.push_back(share[size] / n_of_size[size]);
        } while (std::prev_permutation(removed.begin(), removed.end()));
        n_left = budget - sample.coalitions.size();
        left -= share[size];
    }
    const std::size_t n_whole = sample.coalitions.size();
    const std::size_t n_to_draw = budget - n_whole;
    std::vector<double> up_to(n, 0.0);  // shares of this and of all smaller sizes that are left
    for (std::size_t k = 1; k < n; ++k) up_to[k] = up_to[k - 1] + (k < size ? 0.0 : share[k]);
    std::mt19937_64 random(seed);
    Deck deck(n, random);
    std::set<Coalition> drawn;
    std::vector<std::size_t> strata = numbers_to(n_to_draw);
    // One of each stratum of the sizes; what was drawn already is drawn again, at most so often.
    for (std::size_t attempt = 0; size < n && drawn.size() < n_to_draw && attempt < 20 * n_to_draw;
         ++attempt) {
        const std::size_t at = attempt % n_to_draw;
        if (at == 0) shuffle(strata, random);
        const double place =
            (static_cast<double>(strata[at]) + draw_share(random)) / static_cast<double>(n_to_draw);
        const auto found = std::upper_bound(up_to.begin(), up_to.end(), place * up_to.back());
        Coalition kept = deck.without(std::min(static_cast<std::size_t>(found - up_to.begin()), n - 1));
        if (!drawn.insert(kept).second) continue;
        sample.coalitions.push_back(std::move(kept));
    }
    sample.weights.resize(sample.coalitions.size(),
                          left / static_cast<double>(std::max<std::size_t>(drawn.size(), 1)));
    double sum = 0.0;
    for (const double weight : sample.weights) sum += weight;
    for (double& weight : sample.weights) weight *= static_cast<double>(sample.weights.size()) / sum;
    return sample;
}

}  // namespace fastplr
