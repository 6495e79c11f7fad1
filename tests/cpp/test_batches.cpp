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

std::vector<Batch> batches_of(const Texts& texts, std::size_t n_batch, std::size_t max_texts, bool share) {
    std::vector<TokenSpan> spans;
    for (const auto& text : texts) spans.push_back({text.data(), text.size()});
    return make_batches(spans, n_batch, max_texts, share);
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
    // No more batches than there must be for so many tokens and texts, but for what does not fit at their
    // ends.
    std::size_t longest = 0;
    std::size_t n_tokens = 0;
    std::size_t n_alone = 0;
    for (const auto& text : texts) {
        if (text.size() > n_batch) {
            ++n_alone;
            continue;
        }
        longest = std::max(longest, text.size());
        n_tokens += text.size();
    }
    const std::size_t n_full = n_batch - std::min(n_batch - 1, longest);
    CHECK(batches.size() <= n_alone + n_tokens / n_full + texts.size() / max_texts + 1);
    if (share || max_texts < texts.size()) return;
    // None is smaller than another by more than a text, unless that was one that nothing can be taken from.
    std::size_t largest = 0;
    std::size_t smallest = n_batch;
    for (const Batch& batch : batches) {
        if (batch.size() > 1) largest = std::max(largest, n_computed(batch, texts));
        smallest = std::min(smallest, n_computed(batch, texts));
    }
    CHECK(largest <= smallest + longest);
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

TEST_CASE("batches are evened out, by hand") {
    // 4 + 4 fill a batch and leave 2: with room for 6 there are two batches too.
    CHECK((batches_of_lengths({4, 4, 2}, 8, 64) == std::vector<Batch>{unshared({0}), unshared({1, 2})}));
    // 6 + 1 + 1 and 3 would be left of no less room; a 1 goes over.
    CHECK(
        (batches_of_lengths({6, 3, 1, 1}, 9, 64) == std::vector<Batch>{unshared({0}), unshared({1, 2, 3})}));
}

TEST_CASE("a small case of texts that begin alike, by hand") {
    const Texts texts{{1, 2, 3}, {4, 4}, {1, 2}, {4, 4}, {1, 2, 9, 9}, {7, 7, 7, 7, 7, 7, 7, 7, 7}};
    // The long one is alone; then 1 2 | 3 | 9 9 and 4 4 make seven tokens, the other 4 4 none.
    const std::vector<Batch> expected{{{5, 0}}, {{2, 0}, {0, 2}, {4, 2}, {1, 0}, {3, 2}}};
    CHECK(batches_of(texts, 7, 64, true) == expected);
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
        for (const Batch& batch : batches) CHECK(batch.size() <= 64);
    }
}

TEST_CASE(
    "whatever the texts: every one once, limits held, nothing shared computed twice, few batches, and even") {
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
