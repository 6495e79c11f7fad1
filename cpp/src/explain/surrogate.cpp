#include "explain/surrogate.hpp"

#include <Eigen/Cholesky>
#include <cmath>

#include "explain/evidence_ridge.hpp"

namespace fastplr {

using Eigen::Index;
using Eigen::MatrixXd;
using Eigen::RowVectorXd;
using Eigen::VectorXd;

SurrogateValues surrogate_values(const CoalitionSample& sample, const MatrixXd& of_coalition,
                                 const RowVectorXd& all, const MatrixXd& prior) {
    const Index n = prior.rows();
    const auto m = static_cast<Index>(sample.coalitions.size());
    MatrixXd removed(m, n);
    for (Index s = 0; s < m; ++s) {
        for (Index i = 0; i < n; ++i)
            removed(s, i) =
                sample.coalitions[static_cast<std::size_t>(s)][static_cast<std::size_t>(i)] ? 0.0 : 1.0;
    }
    MatrixXd fall = all.replicate(m, 1) - of_coalition;
    const VectorXd roots =
        (Eigen::Map<const VectorXd>(sample.weights.data(), m).array() / removed.rowwise().sum().array())
            .sqrt();
    if (sample.all) {
        const MatrixXd scaled = roots.asDiagonal() * removed;
        fall = roots.asDiagonal() * fall;
        return {(scaled.transpose() * scaled).ldlt().solve(scaled.transpose() * fall), {}};
    }
    fall = roots.asDiagonal() * (fall - removed * prior).eval();
    const EvidenceRidge ridge(roots.asDiagonal() * removed);
    const double left_out = 1.0 - static_cast<double>(m) / (std::exp2(static_cast<double>(n)) - 2.0);
    SurrogateValues found{prior, MatrixXd::Zero(n, prior.cols())};
    for (Index row = 0; row < prior.cols(); ++row) {
        const EvidenceRidge::Posterior posterior = ridge.fit(fall.col(row), left_out);
        found.values.col(row) += posterior.mean;
        found.standard_errors.col(row) = posterior.variance.array().sqrt();
    }
    return found;
}

}  // namespace fastplr
