#include "explain/shapley.hpp"

#include <Eigen/SVD>
#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

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
    const Eigen::BDCSVD<MatrixXd> svd(members, Eigen::ComputeThinU | Eigen::ComputeThinV);
    const VectorXd squares = svd.singularValues().array().square();
    const MatrixXd along = svd.matrixU().transpose() * rest;

    for (Index row = 0; row < n_rows; ++row) {
        const VectorXd energy = along.col(row).array().square();
        const double beside = std::max(rest.col(row).squaredNorm() - energy.sum(), 0.0);
        // Ratio of the prior's variance to the noise's by maximal evidence, on a grid of quarters of octaves.
        double best = -std::numeric_limits<double>::infinity();
        double ratio = 0.0;
        double noise = 0.0;
        for (int step = -40; step <= 80; ++step) {
            const double tried = std::exp2(0.25 * step);
            const Eigen::ArrayXd total = 1.0 + tried * squares.array();
            const double variance = ((energy.array() / total).sum() + beside) / static_cast<double>(m);
            if (!(variance > 0)) break;  // the prior explains everything
            const double evidence = -0.5 * (static_cast<double>(m) * std::log(variance) + total.log().sum());
            if (evidence > best) {
                best = evidence;
                ratio = tried;
                noise = variance;
            }
        }
        if (ratio == 0.0) continue;
        // Of few spans the sample is a large part of all coalitions, and what is left out can err no more.
        const double left_out = 1.0 - static_cast<double>(m) / (std::exp2(static_cast<double>(n)) - 2.0);
        noise *= left_out;
        ratio /= left_out;
        const Eigen::ArrayXd total = 1.0 + ratio * squares.array();
        const VectorXd steps = ratio * svd.singularValues().array() / total * along.col(row).array();
        result.values.col(row) += svd.matrixV() * steps;
        const Eigen::ArrayXd known = ratio * squares.array() / total;
        const VectorXd told = svd.matrixV().array().square().matrix() * known.matrix();
        const double of_prior = 1.0 - 1.0 / static_cast<double>(n);
        result.standard_errors.col(row) = (ratio * noise * (of_prior - told.array()).max(0.0)).sqrt();
    }
    return result;
}

}  // namespace fastplr
