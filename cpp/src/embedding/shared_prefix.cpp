#include "embedding/shared_prefix.hpp"

#include <algorithm>

namespace fastplr {
namespace {

// Texts of a batch share what they begin with anyway. To compute a prefix apart costs a call as much as three
// to five tokens (docs/tuning.md) and saves the next call the prefix: from this length on, several times as
// much.
constexpr std::size_t kWorthKeeping = 16;

template <class T>
std::size_t index_of(const std::vector<T>& values, T value) {
    return static_cast<std::size_t>(std::find(values.begin(), values.end(), value) - values.begin());
}

}  // namespace

bool SharedPrefix::serves(int wanted_depth, const std::vector<int>& wanted_layers,
                          const std::vector<std::size_t>& begins) const {
    if (depth < wanted_depth) return false;
    if (begins.empty()) return true;
    const auto has_layer = [&](int layer) { return index_of(layers, layer) < layers.size(); };
    const auto has_begin = [&](std::size_t begin) {
        return std::any_of(sums.ranges.begin(), sums.ranges.end(),
                           [&](const PoolingRange& range) { return range.begin == begin; });
    };
    return std::all_of(wanted_layers.begin(), wanted_layers.end(), has_layer) &&
           std::all_of(begins.begin(), begins.end(), has_begin);
}

void SharedPrefix::add_to(PooledSums& text, const std::vector<int>& wanted_layers, std::size_t n_embd) const {
    for (std::size_t p = 0; p < text.ranges.size(); ++p) {
        const std::size_t begin = text.ranges[p].begin;
        if (begin >= tokens.size()) continue;
        const auto range = std::find_if(sums.ranges.begin(), sums.ranges.end(),
                                        [&](const PoolingRange& known) { return known.begin == begin; });
        const auto r = static_cast<std::size_t>(range - sums.ranges.begin());
        for (std::size_t l = 0; l < wanted_layers.size(); ++l) {
            const std::size_t k = index_of(layers, wanted_layers[l]);
            const double* source = sums.sums.data() + (k * sums.ranges.size() + r) * n_embd;
            double* target = text.sums.data() + (l * text.ranges.size() + p) * n_embd;
            for (std::size_t j = 0; j < n_embd; ++j) target[j] += source[j];
        }
    }
}

std::size_t common_prefix(const std::vector<TokenizedText>& texts, std::size_t limit) {
    const auto& first = texts.front().tokens;
    std::size_t n = std::min(limit, first.size() - 1);
    for (const TokenizedText& text : texts) {
        n = std::min(n, text.tokens.size() - 1);
        const auto end = first.begin() + static_cast<std::ptrdiff_t>(n);
        n = static_cast<std::size_t>(std::mismatch(first.begin(), end, text.tokens.begin()).first -
                                     first.begin());
    }
    return n;
}

std::size_t shared_length(const std::vector<TokenizedText>& texts,
                          const std::vector<llama_token>& prompt_alone, std::size_t limit,
                          std::size_t n_batch) {
    const std::size_t common = common_prefix(texts, limit);
    const auto& first = texts.front().tokens;
    const auto differ = std::mismatch(prompt_alone.begin(), prompt_alone.end(), first.begin(), first.end());
    std::size_t prompt = std::min(common, static_cast<std::size_t>(differ.second - first.begin()));
    std::size_t n_rest = 0;
    for (const TokenizedText& text : texts) {
        prompt = std::min(prompt, text.text_begin);
        n_rest += text.tokens.size() - common;
    }
    // Every batch after the first one computes again what is not kept. What is longer than the prompt helps
    // no later call, and costs it the prompt.
    const std::size_t further_batches = n_rest / n_batch;
    const std::size_t wanted = (common - prompt) * further_batches > prompt ? common : prompt;
    return wanted < kWorthKeeping ? 0 : wanted;
}

std::vector<std::size_t> shared_begins(const std::vector<std::vector<PoolingRange>>& ranges,
                                       std::size_t n_shared) {
    std::vector<std::size_t> begins;
    for (const auto& of_text : ranges) {
        for (const PoolingRange& range : of_text) {
            if (range.begin < n_shared) begins.push_back(range.begin);
        }
    }
    std::sort(begins.begin(), begins.end());
    begins.erase(std::unique(begins.begin(), begins.end()), begins.end());
    return begins;
}

}  // namespace fastplr
