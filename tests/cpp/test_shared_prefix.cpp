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

TEST_CASE("a prompt is kept, whatever its length") {
    CHECK(fastplr::shared_length(texts_of(1, 40, 0, 10), {}, kNoLimit, 512) == 40);
    CHECK(fastplr::shared_length(texts_of(2, 1, 0, 10), {}, kNoLimit, 512) == 1);
    CHECK(fastplr::shared_length(texts_of(500, 0, 0, 10), {}, kNoLimit, 512) == 0);
}

TEST_CASE(
    "what the texts have in common beyond the prompt is kept where further batches save more than the "
    "prompt") {
    // Ten tokens more for each of n * 5 / 100 further batches, against the prompt's 20.
    CHECK(fastplr::shared_length(texts_of(59, 20, 10, 5), {}, kNoLimit, 100) == 20);
    CHECK(fastplr::shared_length(texts_of(60, 20, 10, 5), {}, kNoLimit, 100) == 30);
    CHECK(fastplr::shared_length(texts_of(60, 20, 10, 5), {}, 25, 100) == 25);
    CHECK(fastplr::shared_length(texts_of(20, 0, 10, 5), {}, kNoLimit, 100) == 10);
}

TEST_CASE("a known prefix is used again where it is nearly as long") {
    const auto texts = texts_of(100, 40, 0, 5);  // in six batches
    CHECK(fastplr::shared_length(texts, first_tokens(texts, 40), kNoLimit, 100) == 40);
    CHECK(fastplr::shared_length(texts, first_tokens(texts, 34), kNoLimit, 100) == 34);
    CHECK(fastplr::shared_length(texts, first_tokens(texts, 33), kNoLimit, 100) == 40);
    // Longer than the prompt, since the texts before had more in common: still right for these.
    CHECK(fastplr::shared_length(texts_of(3, 40, 4, 5), first_tokens(texts_of(3, 40, 4, 5), 44), kNoLimit,
                                 512) == 44);
    // Another prompt, or one that the limit forbids.
    CHECK(fastplr::shared_length(texts, {7, 7, 7}, kNoLimit, 100) == 40);
    CHECK(fastplr::shared_length(texts, first_tokens(texts, 40), 30, 100) == 30);
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
