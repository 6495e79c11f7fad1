#include "explain/shapley.hpp"

#include <bit>
#include <cmath>

#include "explain/evidence_ridge.hpp"

namespace fastplr {

using Eigen::Index;
using Eigen::MatrixXd;
using Eigen::RowVectorXd;
using Eigen::VectorXd;

MatrixXd exact_shapley_values(const MatrixXd& of_coalition) {
    const auto n_coalitions = static_cast<std::size_t>(of_coalition.rows());
    const int n = std::countr_zero(n_coalitions);
    std::vector<double> weight(static_cast<std::size_t>(n));  // size! (n - size - 1)! / n!
    for (int size = 0; size < n; ++size) {
        weight[static_cast<std::size_t>(size)] = std::exp(
            std::lgamma(size + 1.0) + std::lgamma(static_cast<double>(n - size)) - std::lgamma(n + 1.0));
    }
    MatrixXd values = MatrixXd::Zero(n, of_coalition.cols());
    for (std::size_t without = 0; without < n_coalitions; ++without) {
        for (int i = 0; i < n; ++i) {
            const std::size_t bit = std::size_t{1} << i;
            if ((without & bit) != 0) continue;
            values.row(i) += weight[static_cast<std::size_t>(std::popcount(without))] *
                             (of_coalition.row(static_cast<Index>(without | bit)) -
                              of_coalition.row(static_cast<Index>(without)));
        }
    }
    return values;
}

ShapleyValues estimate_shapley_values(const CoalitionSample& sample, const MatrixXd& of_coalition,
                                      const RowVectorXd& none, const RowVectorXd& all,
                                      const MatrixXd& prior) {
    const Index n = prior.rows();
    const Index n_rows = prior.cols();
    const auto m = static_cast<Index>(sample.coalitions.size());
    const MatrixXd shift = ((all - none - prior.colwise().sum()) / static_cast<double>(n)).replicate(n, 1);
    ShapleyValues result{prior + shift, MatrixXd::Zero(n, n_rows)};
    if (n < 2 || m == 0) return result;

    // Deviations from the prior add up to zero, so members count less their mean.
    MatrixXd members(m, n);
    for (Index s = 0; s < m; ++s) {
        for (Index i = 0; i < n; ++i)
            members(s, i) =
                sample.coalitions[static_cast<std::size_t>(s)][static_cast<std::size_t>(i)] ? 1.0 : 0.0;
    }
    MatrixXd rest = of_coalition - none.replicate(m, 1) - members * result.values;
    members.colwise() -= members.rowwise().mean().eval();
    const VectorXd roots = Eigen::Map<const VectorXd>(sample.weights.data(), m).cwiseSqrt();
    members = roots.asDiagonal() * members;
    rest = roots.asDiagonal() * rest;
    const EvidenceRidge ridge(members);
    // Of few spans the sample is a large part of all coalitions, and what is left out can err no more.
    const double left_out = 1.0 - static_cast<double>(m) / (std::exp2(static_cast<double>(n)) - 2.0);
    for (Index row = 0; row < n_rows; ++row) {
        const EvidenceRidge::Posterior found =
            ridge.fit(rest.col(row), left_out, 1.0 - 1.0 / static_cast<double>(n));
        result.values.col(row) += found.mean;
        result.standard_errors.col(row) = found.variance.array().sqrt();
    }
    return result;
}

}  // namespace fastplr
