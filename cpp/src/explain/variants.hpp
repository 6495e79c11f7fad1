// Texts with some of their spans taken out.
#pragma once

#include <string>
#include <vector>

#include "fastplr/words.hpp"

namespace fastplr {

/// Which spans of a text are kept.
using Coalition = std::vector<bool>;

/// The text with the spans that are kept and all that is in none. With an empty `replacement` the white space
/// before a span that is taken out goes too (at the beginning, that after it), and there is none at either
/// end.
std::string text_with(const std::string& text, const std::vector<TextSpan>& spans, const Coalition& kept,
                      const std::string& replacement);

/// Coalitions from which values of spans are computed.
struct CoalitionSample {
    std::vector<Coalition> coalitions;
    std::vector<double> weights;  ///< of each in a least-squares fit, 1 on average
    bool all = false;  ///< whether it is every coalition but the full and the empty one (of one span,
                       ///< for `sample_removals`, the empty one)
};

/// All coalitions of `n` >= 1 spans but the full and the empty one where there are at most `budget`; else a
/// sample of at most so many for the Shapley kernel (Lundberg & Lee, arXiv 1705.07874, theorem 2): each with
/// its complement (Covert & Lee, arXiv 2012.01536), each once. Sizes of which the kernel's share of the
/// budget would take every coalition are taken whole, from the smallest and largest on, with the kernel's
/// weights; the others are drawn, and share what weight is left.
CoalitionSample sample_coalitions(std::size_t n, std::size_t budget, std::uint64_t seed);

/// Coalitions near the whole text: how many spans are kept, 1 to n - 1, is distributed as its square, and
/// spans are taken out in turns, each about as often as any other. Each coalition once, at most `budget` of
/// them; sizes of which that distribution's share of the budget would take every coalition are taken whole,
/// with its weights, at last all of them. Of one span, the empty coalition.
CoalitionSample sample_removals(std::size_t n, std::size_t budget, std::uint64_t seed);

}  // namespace fastplr
