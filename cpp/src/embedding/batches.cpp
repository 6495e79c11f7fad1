#include "embedding/batches.hpp"

#include <algorithm>
#include <numeric>

namespace fastplr {

std::vector<Batch> make_batches(const std::vector<std::size_t>& n_tokens, std::size_t n_batch,
                                std::size_t max_texts) {
    std::vector<std::size_t> order(n_tokens.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(),
                     [&](std::size_t a, std::size_t b) { return n_tokens[a] > n_tokens[b]; });
    std::vector<Batch> batches;
    std::size_t filled = 0;
    for (const std::size_t index : order) {
        const bool fits =
            !batches.empty() && filled + n_tokens[index] <= n_batch && batches.back().size() < max_texts;
        if (!fits) {
            batches.emplace_back();
            filled = 0;
        }
        batches.back().push_back(index);
        filled += n_tokens[index];
    }
    return batches;
}

}  // namespace fastplr
