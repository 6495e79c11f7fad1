#include "embedding/batches.hpp"

#include <algorithm>
#include <numeric>
#include <utility>

namespace fastplr {
namespace {

bool less(const TokenSpan& a, const TokenSpan& b) {
    return std::lexicographical_compare(a.tokens, a.tokens + a.size, b.tokens, b.tokens + b.size);
}

std::size_t common_length(const TokenSpan& a, const TokenSpan& b) {
    const std::size_t n = std::min(a.size, b.size);
    return static_cast<std::size_t>(std::mismatch(a.tokens, a.tokens + n, b.tokens).first - a.tokens);
}

// Packs texts, in this order, into batches of up to `capacity` tokens; one that is longer is alone.
std::vector<Batch> fill(const std::vector<TokenSpan>& texts, const std::vector<std::size_t>& order,
                        std::size_t capacity, std::size_t max_texts, bool share) {
    std::vector<Batch> batches;
    std::size_t filled = 0;
    for (const std::size_t index : order) {
        const TokenSpan& text = texts[index];
        std::size_t n_shared = 0;
        if (share && !batches.empty()) n_shared = common_length(texts[batches.back().back().index], text);
        const bool fits = !batches.empty() && filled + text.size - n_shared <= capacity &&
                          batches.back().size() < max_texts;
        if (!fits) {
            batches.emplace_back();
            filled = 0;
            n_shared = 0;
        }
        batches.back().push_back({index, n_shared});
        filled += text.size - n_shared;
    }
    return batches;
}

// Moves texts that share nothing with their neighbours from the fullest batch to the emptiest, where that
// brings the two closer.
void even_out(std::vector<Batch>& batches, const std::vector<TokenSpan>& texts,
              const std::vector<std::size_t>& order, std::size_t n_batch, std::size_t max_texts, bool share) {
    std::vector<std::size_t> rank(order.size());
    for (std::size_t i = 0; i < order.size(); ++i) rank[order[i]] = i;
    std::vector<std::size_t> sizes;
    for (const Batch& batch : batches) sizes.push_back(n_tokens(batch, texts));
    for (std::size_t moves = 0; moves < batches.size(); ++moves) {
        std::size_t from = batches.size();
        std::size_t to = batches.size();
        for (std::size_t b = 0; b < batches.size(); ++b) {
            if (batches[b].size() > 1 && (from == batches.size() || sizes[b] > sizes[from])) from = b;
            if (batches[b].size() < max_texts && (to == batches.size() || sizes[b] < sizes[to])) to = b;
        }
        if (from == batches.size() || to == batches.size() || sizes[from] <= sizes[to]) return;
        Batch& source = batches[from];
        const std::size_t gap = sizes[from] - sizes[to];
        const auto remaining = [&](std::size_t size) {
            return gap > 2 * size ? gap - 2 * size : 2 * size - gap;
        };
        std::size_t best = source.size();
        for (std::size_t i = 0; i < source.size(); ++i) {
            const std::size_t size = texts[source[i].index].size;
            const bool alone =
                source[i].n_shared == 0 && (i + 1 == source.size() || source[i + 1].n_shared == 0);
            if (!alone || size >= gap || sizes[to] + size > n_batch) continue;
            if (best == source.size() || remaining(size) < remaining(texts[source[best].index].size))
                best = i;
        }
        if (best == source.size()) return;
        Batch& target = batches[to];
        const BatchText moved = source[best];
        source.erase(source.begin() + static_cast<std::ptrdiff_t>(best));
        const auto place = std::find_if(target.begin(), target.end(), [&](const BatchText& text) {
            return rank[text.index] > rank[moved.index];
        });
        target.insert(place, moved);
        for (std::size_t i = 1; share && i < target.size(); ++i) {
            target[i].n_shared = common_length(texts[target[i - 1].index], texts[target[i].index]);
        }
        if (share) target.front().n_shared = 0;
        sizes[from] = n_tokens(source, texts);
        sizes[to] = n_tokens(target, texts);
    }
}

}  // namespace

std::size_t n_tokens(const Batch& batch, const std::vector<TokenSpan>& texts) {
    std::size_t n = 0;
    for (const BatchText& text : batch) n += texts[text.index].size - text.n_shared;
    return n;
}

std::vector<Batch> make_batches(const std::vector<TokenSpan>& texts, std::size_t n_batch,
                                std::size_t max_texts, bool share) {
    std::vector<std::size_t> order(texts.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
        const bool a_long = texts[a].size > n_batch;
        const bool b_long = texts[b].size > n_batch;
        if (share && a_long == b_long) return !a_long && less(texts[a], texts[b]);
        return texts[a].size > texts[b].size;
    });
    std::vector<Batch> batches = fill(texts, order, n_batch, max_texts, share);
    // As many batches, with the least capacity that will do: none is much smaller than the others.
    std::size_t too_small = 0;
    std::size_t enough = n_batch;
    while (enough - too_small > 1) {
        const std::size_t capacity = too_small + (enough - too_small) / 2;
        std::vector<Batch> smaller = fill(texts, order, capacity, max_texts, share);
        if (smaller.size() == batches.size()) {
            batches = std::move(smaller);
            enough = capacity;
        } else {
            too_small = capacity;
        }
    }
    even_out(batches, texts, order, n_batch, max_texts, share);
    return batches;
}

}  // namespace fastplr
