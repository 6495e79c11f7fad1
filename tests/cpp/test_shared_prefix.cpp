// Which tokens are worth computing apart from the texts, and how the sums of a prefix enter those of a text.
#include <numeric>
#include <vector>

#include "check.hpp"
#include "embedding/shared_prefix.hpp"

using fastplr::PooledSums;
using fastplr::PoolingRange;
using fastplr::SharedPrefix;
using fastplr::TokenizedText;

namespace {

constexpr std::size_t kNoLimit = 1000;

// `prompt` tokens that are the same in all texts, then `common` more, then `own` of its own kind.
std::vector<TokenizedText> texts_of(std::size_t n, std::size_t prompt, std::size_t common, std::size_t own) {
    std::vector<TokenizedText> texts(n);
    for (std::size_t i = 0; i < n; ++i) {
        texts[i].tokens.resize(prompt + common);
        std::iota(texts[i].tokens.begin(), texts[i].tokens.end(), 0);
        texts[i].tokens.insert(texts[i].tokens.end(), own, static_cast<llama_token>(1000 + i));
        texts[i].text_begin = prompt;
        texts[i].text_end = texts[i].tokens.size();
    }
    return texts;
}

std::vector<llama_token> first_tokens(const std::vector<TokenizedText>& texts, std::size_t n) {
    return {texts[0].tokens.begin(), texts[0].tokens.begin() + static_cast<std::ptrdiff_t>(n)};
}

// With the prompt's tokens as they are alone.
std::size_t shared_length(std::size_t n, std::size_t prompt, std::size_t common, std::size_t own,
                          std::size_t limit, std::size_t n_batch) {
    const auto texts = texts_of(n, prompt, common, own);
    return fastplr::shared_length(texts, first_tokens(texts, prompt), limit, n_batch);
}

}  // namespace

TEST_CASE("the common prefix leaves every text a token") {
    CHECK(fastplr::common_prefix(texts_of(3, 4, 2, 5), kNoLimit) == 6);
    CHECK(fastplr::common_prefix(texts_of(3, 4, 2, 5), 5) == 5);
    CHECK(fastplr::common_prefix(texts_of(1, 4, 0, 3), kNoLimit) == 6);
    CHECK(fastplr::common_prefix(texts_of(2, 4, 0, 0), kNoLimit) == 3);
    auto texts = texts_of(2, 6, 0, 4);
    texts[1].tokens.resize(3);
    CHECK(fastplr::common_prefix(texts, kNoLimit) == 2);
    texts[1].tokens.resize(1);
    CHECK(fastplr::common_prefix(texts, kNoLimit) == 0);
}

TEST_CASE("a prompt is shared unless it is short, whatever the number of texts") {
    for (const std::size_t n : {1, 2, 500}) {
        CHECK(shared_length(n, 40, 0, 10, kNoLimit, 512) == 40);
        CHECK(shared_length(n, 16, 0, 10, kNoLimit, 512) == 16);
        CHECK(shared_length(n, 15, 0, 10, kNoLimit, 512) == 0);
        CHECK(shared_length(n, 0, 0, 10, kNoLimit, 512) == 0);
    }
}

TEST_CASE(
    "what the texts have in common beyond the prompt is shared where further batches save more than it") {
    // Ten tokens more for each of n * 5 / 100 further batches, against the prompt's 20.
    CHECK(shared_length(59, 20, 10, 5, kNoLimit, 100) == 20);
    CHECK(shared_length(60, 20, 10, 5, kNoLimit, 100) == 30);
    CHECK(shared_length(60, 20, 10, 5, 25, 100) == 25);
    CHECK(shared_length(20, 0, 20, 5, kNoLimit, 100) == 20);
    CHECK(shared_length(20, 0, 10, 5, kNoLimit, 100) == 0);
}

TEST_CASE("what some texts of one prompt happen to begin with does not count as the prompt") {
    // One text, or texts whose first tokens are the same.
    CHECK(shared_length(1, 40, 0, 10, kNoLimit, 512) == 40);
    CHECK(shared_length(3, 40, 4, 10, kNoLimit, 512) == 40);
    // A token of the prompt's end becomes part of the text: nothing of it is shared.
    auto texts = texts_of(3, 40, 0, 5);
    for (TokenizedText& text : texts) text.text_begin = 39;
    CHECK(fastplr::shared_length(texts, first_tokens(texts, 40), kNoLimit, 512) == 39);
    // The prompt alone ends in other tokens than before the texts, or in one that only ends a text.
    auto alone = first_tokens(texts, 38);
    alone.insert(alone.end(), {7, 7, 7});
    CHECK(fastplr::shared_length(texts, alone, kNoLimit, 512) == 38);
    CHECK(fastplr::shared_length(texts, alone, 30, 512) == 30);
}

TEST_CASE("begins of the ranges within the prefix, each once") {
    const std::vector<std::vector<PoolingRange>> ranges{{{5, 9}, {0, 9}}, {{1, 4}, {0, 4}}, {{8, 9}, {0, 9}}};
    CHECK(fastplr::shared_begins(ranges, 6) == (std::vector<std::size_t>{0, 1, 5}));
    CHECK(fastplr::shared_begins(ranges, 0).empty());
}

TEST_CASE("sums of the prefix go to the poolings and layers that want them") {
    SharedPrefix prefix;
    prefix.tokens = {1, 2, 3, 4};
    prefix.depth = 7;
    prefix.layers = {3, 7};
    prefix.sums.ranges = {{0, 4}, {2, 4}};
    prefix.sums.sums = {1, 2, 10, 20, 100, 200, 1000, 2000};  // [layers, ranges, 2]

    CHECK(prefix.serves(7, {7, 3}, {0, 2}));
    CHECK(prefix.serves(3, {3}, {}));
    CHECK(prefix.serves(5, {5}, {}));  // no pooling counts the prefix: depth is enough
    CHECK(!prefix.serves(8, {3}, {}));
    CHECK(!prefix.serves(7, {5}, {0}));
    CHECK(!prefix.serves(7, {3}, {1}));

    PooledSums text;
    text.ranges = {{6, 9}, {0, 9}, {2, 9}};
    text.sums.assign(2 * 3 * 2, 0.5);
    prefix.add_to(text, {7, 3}, 2);
    const std::vector<double> expected{0.5, 0.5, 100.5, 200.5, 1000.5, 2000.5,
                                       0.5, 0.5, 1.5,   2.5,   10.5,   20.5};
    CHECK(text.sums == expected);
}
