#include "embedding/batches.hpp"

#include <algorithm>
#include <numeric>

namespace fastplr {
namespace {

bool less(const TokenSpan& a, const TokenSpan& b) {
    return std::lexicographical_compare(a.tokens, a.tokens + a.size, b.tokens, b.tokens + b.size);
}

std::size_t common_length(const TokenSpan& a, const TokenSpan& b) {
    const std::size_t n = std::min(a.size, b.size);
    return static_cast<std::size_t>(std::mismatch(a.tokens, a.tokens + n, b.tokens).first - a.tokens);
}

}  // namespace

std::vector<Batch> make_batches(const std::vector<TokenSpan>& texts, std::size_t n_batch,
                                std::size_t max_texts, bool share, std::size_t reserved) {
    std::vector<std::size_t> order(texts.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
        const bool a_long = texts[a].size > n_batch;
        const bool b_long = texts[b].size > n_batch;
        if (share && a_long == b_long) return !a_long && less(texts[a], texts[b]);
        return texts[a].size > texts[b].size;
    });
    std::vector<Batch> batches;
    std::size_t filled = reserved;
    for (const std::size_t index : order) {
        const TokenSpan& text = texts[index];
        std::size_t n_shared = 0;
        if (share && !batches.empty()) n_shared = common_length(texts[batches.back().back().index], text);
        const bool fits =
            !batches.empty() && filled + text.size - n_shared <= n_batch && batches.back().size() < max_texts;
        if (!fits) {
            filled = batches.empty() ? reserved : 0;
            batches.emplace_back();
            n_shared = 0;
        }
        batches.back().push_back({index, n_shared});
        filled += text.size - n_shared;
    }
    return batches;
}

}  // namespace fastplr
