// Products with matrices of few columns.
#pragma once

#include <Eigen/Core>

namespace fastplr::solver {

/// Columns up to which as many products with a vector are faster than one with a matrix, which copies its
/// factors.
constexpr Eigen::Index kFewColumns = 8;

/// result = left * right
template <typename Left, typename Right, typename Result>
void multiply(const Left& left, const Right& right, Result&& result) {
    if (right.cols() > kFewColumns) {
        result.noalias() = left * right;
        return;
    }
    for (Eigen::Index k = 0; k < right.cols(); ++k) result.col(k).noalias() = left * right.col(k);
}

}  // namespace fastplr::solver
