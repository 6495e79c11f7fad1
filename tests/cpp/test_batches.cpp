// How texts are put into batches: every text once, within the limits, the longest first.
#include <algorithm>
#include <random>
#include <vector>

#include "check.hpp"
#include "embedding/batches.hpp"

using fastplr::Batch;
using fastplr::make_batches;

namespace {

std::size_t tokens_in(const Batch& batch, const std::vector<std::size_t>& n_tokens) {
    std::size_t sum = 0;
    for (const std::size_t index : batch) sum += n_tokens[index];
    return sum;
}

void check_batches(const std::vector<std::size_t>& n_tokens, std::size_t n_batch, std::size_t max_texts) {
    const auto batches = make_batches(n_tokens, n_batch, max_texts);
    std::vector<int> seen(n_tokens.size(), 0);
    for (const Batch& batch : batches) {
        CHECK(!batch.empty());
        CHECK(batch.size() <= max_texts);
        CHECK(batch.size() == 1 || tokens_in(batch, n_tokens) <= n_batch);
        for (const std::size_t index : batch) ++seen.at(index);
    }
    CHECK(std::all_of(seen.begin(), seen.end(), [](int count) { return count == 1; }));
    std::vector<std::size_t> longest;
    for (const Batch& batch : batches) longest.push_back(n_tokens[batch.front()]);
    CHECK(std::is_sorted(longest.rbegin(), longest.rend()));
    // No waste: a batch and the first text of the next one would not have gone together.
    for (std::size_t b = 0; b + 1 < batches.size(); ++b) {
        const bool full = batches[b].size() == max_texts;
        CHECK(full || tokens_in(batches[b], n_tokens) + n_tokens[batches[b + 1].front()] > n_batch);
    }
}

}  // namespace

TEST_CASE("no texts make no batch") { CHECK(make_batches({}, 512, 64).empty()); }

TEST_CASE("a small case by hand") {
    // 12 is too long and alone; 5 + 5 fill a batch, equal texts in their order; 3 + 3 are left.
    const std::vector<Batch> expected{{1}, {0, 4}, {2, 3}};
    CHECK(make_batches({5, 12, 3, 3, 5}, 10, 64) == expected);
}

TEST_CASE("a text longer than a batch is alone") {
    const auto batches = make_batches({1, 100, 1}, 16, 64);
    CHECK(batches.size() == 2);
    CHECK(batches.front() == Batch{1});
}

TEST_CASE("the number of texts in a batch is limited too") {
    const auto batches = make_batches(std::vector<std::size_t>(130, 1), 512, 64);
    CHECK(batches.size() == 3);
    CHECK(batches[0].size() == 64 && batches[2].size() == 2);
}

TEST_CASE("whatever the lengths: every text once, limits held, longest first, no waste") {
    std::mt19937 random(0);
    const auto draw = [&](std::size_t low, std::size_t high) {
        return std::uniform_int_distribution<std::size_t>(low, high)(random);
    };
    for (int round = 0; round < 2000; ++round) {
        std::vector<std::size_t> n_tokens(draw(0, 100));
        const std::size_t longest = draw(1, 80);
        for (std::size_t& n : n_tokens) n = draw(1, longest);
        check_batches(n_tokens, draw(1, 120), draw(1, 20));
    }
}
