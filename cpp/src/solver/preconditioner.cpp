#include "preconditioner.hpp"

#include <algorithm>
#include <limits>

namespace fastplr::solver {
namespace {

/// Cholesky of a matrix that is positive definite but for rounding: the diagonal grows until it succeeds.
Eigen::LLT<MatrixXd> robust_cholesky(MatrixXd& matrix) {
    const double scale =
        std::max(matrix.diagonal().cwiseAbs().maxCoeff(), std::numeric_limits<double>::min());
    double jitter = 0.0;
    for (;;) {
        Eigen::LLT<MatrixXd> cholesky(matrix.selfadjointView<Eigen::Lower>());
        if (cholesky.info() == Eigen::Success || jitter > scale) return cholesky;
        const double next = jitter == 0.0 ? 1e-14 * scale : 100.0 * jitter;
        matrix.diagonal().array() += next - jitter;
        jitter = next;
    }
}

}  // namespace

Preconditioner::Preconditioner(const DesignRows& design, const MatrixXd& row_weights, double lambda,
                               bool fit_intercept)
    : coordinates_(design.coordinates), lambda_(lambda), fit_intercept_(fit_intercept) {
    factors_.resize(static_cast<std::size_t>(row_weights.cols()));
    for (Index k = 0; k < row_weights.cols(); ++k) {
        Factor& factor = factors_[static_cast<std::size_t>(k)];
        if (coordinates_ == Coordinates::gram) {
            factorise_gram(design, row_weights.col(k), factor);
        } else {
            factorise_primal(design, row_weights.col(k), factor);
        }
    }
}

void Preconditioner::factorise_gram(const DesignRows& design, const VectorXd& row_weights,
                                    Factor& factor) const {
    // (lambda I + W G)^-1 = (I - W^1/2 M^-1 W^1/2 G) / lambda with M = lambda I + W^1/2 G W^1/2: never
    // divides by a row weight, which may be 0 where a probability is.
    factor.weights = row_weights.cwiseSqrt();
    MatrixXd system = factor.weights.asDiagonal() * design.matrix * factor.weights.asDiagonal();
    system.diagonal().array() += lambda_;
    factor.cholesky = robust_cholesky(system);
    if (!fit_intercept_) return;
    const VectorXd solved = factor.cholesky.solve(factor.weights);
    factor.bordering = factor.weights.cwiseProduct(solved);
    factor.schur = lambda_ * factor.weights.dot(solved);
}

void Preconditioner::factorise_primal(const DesignRows& design, const VectorXd& row_weights,
                                      Factor& factor) const {
    const MatrixXd weighted = row_weights.cwiseSqrt().asDiagonal() * design.matrix;
    const Index n = design.n_coordinates();
    MatrixXd system = MatrixXd::Zero(n, n);
    system.selfadjointView<Eigen::Lower>().rankUpdate(weighted.transpose());
    if (fit_intercept_) {
        // The intercept is eliminated first: its own entry, a sum of positive weights, is a safe pivot.
        factor.bordering = design.matrix.transpose() * row_weights;
        factor.schur = row_weights.sum();
        if (factor.schur > 0.0) {
            system.selfadjointView<Eigen::Lower>().rankUpdate(factor.bordering, -1.0 / factor.schur);
        }
    }
    // With a penalty of 0 the system may be singular; a ridge of rounding size makes it solvable.
    const double ridge = lambda_ > 0.0 ? lambda_ : 1e-13 * system.diagonal().cwiseAbs().maxCoeff();
    system.diagonal().array() += ridge;
    factor.cholesky = robust_cholesky(system);
}

Step Preconditioner::solve(const MatrixXd& residual, const MatrixXd& gram_residual,
                           const VectorXd& intercept_residual) const {
    const Index n_outputs = residual.cols();
    Step step{MatrixXd(residual.rows(), n_outputs), VectorXd::Zero(n_outputs)};
    for (std::size_t f = 0; f < factors_.size(); ++f) {
        const Factor& factor = factors_[f];
        const Index first = factors_.size() > 1 ? static_cast<Index>(f) : 0;
        const Index count = factors_.size() > 1 ? 1 : n_outputs;
        const bool intercept = fit_intercept_ && factor.schur > 0.0;
        auto part = step.coordinates.middleCols(first, count);
        auto intercepts = step.intercepts.segment(first, count);
        if (coordinates_ == Coordinates::gram) {
            const auto gram_part = gram_residual.middleCols(first, count);
            const MatrixXd inner = factor.cholesky.solve(factor.weights.asDiagonal() * gram_part);
            part = (residual.middleCols(first, count) - factor.weights.asDiagonal() * inner) / lambda_;
            if (!intercept) continue;
            intercepts =
                (intercept_residual.segment(first, count) - gram_part.transpose() * factor.bordering) /
                factor.schur;
            part.noalias() -= factor.bordering * intercepts.transpose();
        } else {
            MatrixXd right = residual.middleCols(first, count);
            if (intercept) {
                right.noalias() -=
                    factor.bordering * (intercept_residual.segment(first, count).transpose() / factor.schur);
            }
            part = factor.cholesky.solve(right);
            if (!intercept) continue;
            intercepts = (intercept_residual.segment(first, count) - part.transpose() * factor.bordering) /
                         factor.schur;
        }
    }
    if (n_outputs > 1) {
        const VectorXd mean = step.coordinates.rowwise().mean();
        step.coordinates.colwise() -= mean;
        step.intercepts.array() -= step.intercepts.mean();
    }
    return step;
}

}  // namespace fastplr::solver
