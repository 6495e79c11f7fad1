// How texts are put into batches: every text once, within the limits, texts that begin alike together.
#include <algorithm>
#include <random>
#include <set>
#include <vector>

#include "check.hpp"
#include "embedding/batches.hpp"

using fastplr::Batch;
using fastplr::BatchText;
using fastplr::make_batches;
using fastplr::TokenSpan;

namespace {

using Texts = std::vector<std::vector<llama_token>>;

std::vector<TokenSpan> spans_of(const Texts& texts) {
    std::vector<TokenSpan> spans;
    for (const auto& text : texts) spans.push_back({text.data(), text.size()});
    return spans;
}

std::vector<Batch> batches_of(const Texts& texts, std::size_t n_batch, std::size_t max_texts, bool share) {
    return make_batches(spans_of(texts), n_batch, max_texts, share);
}

std::vector<Batch> batches_of_lengths(const std::vector<std::size_t>& n_tokens, std::size_t n_batch,
                                      std::size_t max_texts) {
    Texts texts;
    for (const std::size_t n : n_tokens) texts.emplace_back(n, 7);
    return batches_of(texts, n_batch, max_texts, false);
}

Batch unshared(const std::vector<std::size_t>& indices) {
    Batch batch;
    for (const std::size_t index : indices) batch.push_back({index, 0});
    return batch;
}

// Tokens that two texts begin with alike, counted one by one.
std::size_t alike(const std::vector<llama_token>& a, const std::vector<llama_token>& b) {
    std::size_t n = 0;
    while (n < a.size() && n < b.size() && a[n] == b[n]) ++n;
    return n;
}

std::size_t n_computed(const Batch& batch, const Texts& texts) {
    std::size_t sum = 0;
    for (const BatchText& text : batch) sum += texts[text.index].size() - text.n_shared;
    return sum;
}

// The least there is to compute: nodes of the tree of all beginnings.
std::size_t n_beginnings(const Batch& batch, const Texts& texts) {
    std::set<std::vector<llama_token>> beginnings;
    for (const BatchText& text : batch) {
        const auto& tokens = texts[text.index];
        for (auto end = tokens.begin(); end != tokens.end(); ++end)
            beginnings.insert({tokens.begin(), end + 1});
    }
    return beginnings.size();
}

void check_batches(const Texts& texts, std::size_t n_batch, std::size_t max_texts, bool share) {
    const auto batches = batches_of(texts, n_batch, max_texts, share);
    std::vector<int> seen(texts.size(), 0);
    for (const Batch& batch : batches) {
        CHECK(!batch.empty());
        CHECK(batch.size() <= max_texts);
        CHECK(batch.size() == 1 || n_computed(batch, texts) <= n_batch);
        CHECK(batch.front().n_shared == 0);
        for (std::size_t b = 1; b < batch.size(); ++b) {
            CHECK(batch[b].n_shared <= alike(texts[batch[b - 1].index], texts[batch[b].index]));
        }
        for (const BatchText& text : batch) {
            ++seen.at(text.index);
            CHECK(batch.size() == 1 || texts[text.index].size() <= n_batch);
        }
        if (share) CHECK(n_computed(batch, texts) == n_beginnings(batch, texts));
    }
    CHECK(std::all_of(seen.begin(), seen.end(), [](int count) { return count == 1; }));
    // No waste: a batch and the first text of the next one would not have gone together.
    for (std::size_t b = 0; b + 1 < batches.size(); ++b) {
        Batch longer = batches[b];
        const std::size_t next = batches[b + 1].front().index;
        longer.push_back({next, share ? alike(texts[longer.back().index], texts[next]) : 0});
        CHECK(batches[b].size() == max_texts || n_computed(longer, texts) > n_batch);
    }
    if (share) return;
    std::vector<std::size_t> longest;
    for (const Batch& batch : batches) longest.push_back(texts[batch.front().index].size());
    CHECK(std::is_sorted(longest.rbegin(), longest.rend()));
}

}  // namespace

TEST_CASE("no texts make no batch") {
    CHECK(batches_of({}, 512, 64, false).empty());
    CHECK(batches_of({}, 512, 64, true).empty());
}

TEST_CASE("a small case by hand") {
    // 12 is too long and alone; 5 + 5 fill a batch, equal texts in their order; 3 + 3 are left.
    const std::vector<Batch> expected{unshared({1}), unshared({0, 4}), unshared({2, 3})};
    CHECK(batches_of_lengths({5, 12, 3, 3, 5}, 10, 64) == expected);
}

TEST_CASE("a small case of texts that begin alike, by hand") {
    const Texts texts{{1, 2, 3}, {4, 4}, {1, 2}, {4, 4}, {1, 2, 9, 9}, {7, 7, 7, 7, 7, 7, 7, 7, 7}};
    // The long one is alone; then 1 2 | 3 | 9 9 and 4 4 make seven tokens, the other 4 4 none.
    const std::vector<Batch> expected{{{5, 0}}, {{2, 0}, {0, 2}, {4, 2}, {1, 0}, {3, 2}}};
    CHECK(batches_of(texts, 7, 64, true) == expected);
}

TEST_CASE("the first batch leaves room for what is reserved") {
    const Texts texts{{1, 2, 3}, {4, 5, 6}, {7, 8, 9}};
    CHECK(make_batches(spans_of(texts), 9, 64, true, 0).size() == 1);
    const std::vector<Batch> expected{unshared({0, 1}), unshared({2})};
    CHECK(make_batches(spans_of(texts), 9, 64, true, 3) == expected);
}

TEST_CASE("a text longer than a batch is alone") {
    const auto batches = batches_of_lengths({1, 100, 1}, 16, 64);
    CHECK(batches.size() == 2);
    CHECK(batches.front() == unshared({1}));
}

TEST_CASE("the number of texts in a batch is limited too") {
    for (const bool share : {false, true}) {
        const auto batches = batches_of(Texts(130, {7}), 512, 64, share);
        CHECK(batches.size() == 3);
        CHECK(batches[0].size() == 64 && batches[2].size() == 2);
    }
}

TEST_CASE("whatever the texts: every one once, limits held, nothing shared computed twice, no waste") {
    std::mt19937 random(0);
    const auto draw = [&](std::size_t low, std::size_t high) {
        return std::uniform_int_distribution<std::size_t>(low, high)(random);
    };
    for (int round = 0; round < 2000; ++round) {
        Texts texts(draw(0, 60));
        const std::size_t longest = draw(1, 80);
        const std::size_t vocabulary = draw(1, 3);
        for (auto& text : texts) {
            text.resize(draw(1, longest));
            for (llama_token& token : text) token = static_cast<llama_token>(draw(0, vocabulary));
        }
        check_batches(texts, draw(1, 120), draw(1, 20), round % 2 == 0);
    }
}
