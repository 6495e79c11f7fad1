#include "preconditioner.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "parallel.hpp"

namespace fastplr::solver {
namespace {

/// Work for which a thread is worth starting, in multiplications.
constexpr double kThreadedWork = 2e7;
/// Rows that are weighted at a time, to stay in cache.
constexpr Index kRowBlock = 512;

/// Cholesky in place of a matrix that is positive definite but for rounding: its diagonal grows until it
/// succeeds. `fill` writes the lower triangle.
template <typename Fill>
void robust_cholesky(MatrixXd& storage, std::optional<Eigen::LLT<Eigen::Ref<MatrixXd>>>& cholesky,
                     const Fill& fill) {
    cholesky.reset();
    fill();
    const double scale =
        std::max(storage.diagonal().cwiseAbs().maxCoeff(), std::numeric_limits<double>::min());
    double jitter = 0.0;
    for (;;) {
        cholesky.emplace(storage);
        if (cholesky->info() == Eigen::Success || jitter > scale) return;
        jitter = jitter == 0.0 ? 1e-14 * scale : 100.0 * jitter;
        cholesky.reset();
        fill();
        storage.diagonal().array() += jitter;
    }
}

/// The lower triangle of X' W X. Threads share the rows out.
void add_weighted_products(const MatrixXd& matrix, const VectorXd& row_weights, MatrixXd& sum,
                           int n_threads) {
    const Index n = matrix.rows();
    const Index order = matrix.cols();
    const Index n_blocks = (n + kRowBlock - 1) / kRowBlock;
    const Index n_parts = std::min<Index>(n_threads, n_blocks);
    std::vector<MatrixXd> others(static_cast<std::size_t>(n_parts - 1));
    parallel_for(n_parts, n_threads, [&](Index part) {
        MatrixXd& own = part == 0 ? sum : others[static_cast<std::size_t>(part - 1)];
        own.setZero(order, order);
        MatrixXd weighted;
        for (Index b = part; b < n_blocks; b += n_parts) {
            const Index first = b * kRowBlock;
            const Index count = std::min(kRowBlock, n - first);
            weighted.noalias() =
                row_weights.segment(first, count).cwiseSqrt().asDiagonal() * matrix.middleRows(first, count);
            own.selfadjointView<Eigen::Lower>().rankUpdate(weighted.transpose());
        }
    });
    for (const MatrixXd& other : others) sum += other;
}

}  // namespace

Preconditioner::Preconditioner(const DesignRows& design, bool fit_intercept, int n_threads)
    : design_(design),
      fit_intercept_(fit_intercept),
      n_threads_(n_threads),
      squared_norms_(design.coordinates == Coordinates::gram
                         ? VectorXd(design.matrix().diagonal())
                         : VectorXd(design.matrix().rowwise().squaredNorm())) {}

void Preconditioner::factorise(const MatrixXd& row_weights, double lambda) {
    lambda_ = lambda;
    row_weights_ = row_weights;
    factors_.resize(static_cast<std::size_t>(row_weights.cols()));
    const auto order = static_cast<double>(design_.n_coordinates());
    const int n_threads = order * order * order > kThreadedWork ? n_threads_ : 1;
    // One factor has its products shared out, several are shared out themselves.
    const int n_inner = n_threads > 1 && row_weights.cols() > 1 ? 1 : n_threads_;
    parallel_for(row_weights.cols(), n_threads, [&](Index k) {
        Factor& factor = factors_[static_cast<std::size_t>(k)];
        if (design_.coordinates == Coordinates::gram) {
            factorise_gram(row_weights.col(k), factor);
        } else {
            factorise_primal(row_weights.col(k), n_inner, factor);
        }
    });
}

double Preconditioner::drift(const MatrixXd& row_weights, double lambda) const {
    // Row by row, the others left out: (w |x|^2 + lambda) / (w' |x|^2 + lambda').
    double low = lambda / lambda_, high = low;
    for (Index k = 0; k < row_weights.cols(); ++k) {
        const auto ratio = (row_weights.col(k).array() * squared_norms_.array() + lambda) /
                           (row_weights_.col(k).array() * squared_norms_.array() + lambda_);
        low = std::min(low, ratio.minCoeff());
        high = std::max(high, ratio.maxCoeff());
    }
    return high / low - 1.0;
}

void Preconditioner::factorise_gram(const VectorXd& row_weights, Factor& factor) const {
    // (lambda I + W G)^-1 = (I - W^1/2 M^-1 W^1/2 G) / lambda with M = lambda I + W^1/2 G W^1/2: never
    // divides by a row weight, which may be 0 where a probability is.
    const Index n = design_.n_rows();
    factor.weights = row_weights.cwiseSqrt();
    factor.storage.resize(n, n);
    robust_cholesky(factor.storage, factor.cholesky, [&] {
        for (Index j = 0; j < n; ++j) {
            factor.storage.col(j).tail(n - j) = factor.weights[j] *
                                                design_.matrix().col(j).tail(n - j).array() *
                                                factor.weights.tail(n - j).array();
        }
        factor.storage.diagonal().array() += lambda_;
    });
    if (!fit_intercept_) return;
    const VectorXd solved = factor.cholesky->solve(factor.weights);
    factor.bordering = factor.weights.cwiseProduct(solved);
    factor.schur = lambda_ * factor.weights.dot(solved);
}

void Preconditioner::factorise_primal(const VectorXd& row_weights, int n_threads, Factor& factor) const {
    if (fit_intercept_) {
        // The intercept is eliminated first: its own entry, a sum of positive weights, is a safe pivot.
        factor.bordering = design_.matrix().transpose() * row_weights;
        factor.schur = row_weights.sum();
    }
    robust_cholesky(factor.storage, factor.cholesky, [&] {
        add_weighted_products(design_.matrix(), row_weights, factor.storage, n_threads);
        auto lower = factor.storage.selfadjointView<Eigen::Lower>();
        if (fit_intercept_ && factor.schur > 0.0) lower.rankUpdate(factor.bordering, -1.0 / factor.schur);
        // With a penalty of 0 the system may be singular; a ridge of rounding size makes it solvable.
        const double ridge =
            lambda_ > 0.0 ? lambda_ : 1e-13 * factor.storage.diagonal().cwiseAbs().maxCoeff();
        factor.storage.diagonal().array() += ridge;
    });
}

void Preconditioner::solve_part(const Factor& factor, Index first, Index count, const MatrixXd& residual,
                                const MatrixXd& gram_residual, const VectorXd& intercept_residual,
                                Step& step) const {
    const bool intercept = fit_intercept_ && factor.schur > 0.0;
    auto part = step.coordinates.middleCols(first, count);
    auto intercepts = step.intercepts.segment(first, count);
    if (design_.coordinates == Coordinates::gram) {
        const auto gram_part = gram_residual.middleCols(first, count);
        if (count == 1) {  // Eigen solves for a vector faster than for a matrix of one column
            VectorXd inner = factor.weights.cwiseProduct(gram_part.col(0));
            factor.cholesky->solveInPlace(inner);
            part.col(0) = (residual.col(first) - factor.weights.cwiseProduct(inner)) / lambda_;
        } else {
            MatrixXd inner = factor.weights.asDiagonal() * gram_part;
            factor.cholesky->solveInPlace(inner);
            part = (residual.middleCols(first, count) - factor.weights.asDiagonal() * inner) / lambda_;
        }
        if (!intercept) return;
        intercepts = (intercept_residual.segment(first, count) - gram_part.transpose() * factor.bordering) /
                     factor.schur;
        part.noalias() -= factor.bordering * intercepts.transpose();
        return;
    }
    MatrixXd right = residual.middleCols(first, count);
    if (intercept) {
        right.noalias() -=
            factor.bordering * (intercept_residual.segment(first, count).transpose() / factor.schur);
    }
    if (count == 1) {
        VectorXd column = right.col(0);
        factor.cholesky->solveInPlace(column);
        part.col(0) = column;
    } else {
        factor.cholesky->solveInPlace(right);
        part = right;
    }
    if (!intercept) return;
    intercepts =
        (intercept_residual.segment(first, count) - part.transpose() * factor.bordering) / factor.schur;
}

Step Preconditioner::solve(const MatrixXd& residual, const MatrixXd& gram_residual,
                           const VectorXd& intercept_residual) const {
    const Index n_outputs = residual.cols();
    Step step{MatrixXd(residual.rows(), n_outputs), VectorXd::Zero(n_outputs)};
    if (factors_.size() > 1) {
        const double work = static_cast<double>(residual.rows()) * static_cast<double>(residual.rows());
        parallel_for(n_outputs, work * static_cast<double>(n_outputs) > kThreadedWork ? n_threads_ : 1,
                     [&](Index k) {
                         solve_part(factors_[static_cast<std::size_t>(k)], k, 1, residual, gram_residual,
                                    intercept_residual, step);
                     });
    } else {
        solve_part(factors_.front(), 0, n_outputs, residual, gram_residual, intercept_residual, step);
    }
    if (n_outputs > 1) {
        const VectorXd mean = step.coordinates.rowwise().mean();
        step.coordinates.colwise() -= mean;
        step.intercepts.array() -= step.intercepts.mean();
    }
    return step;
}

}  // namespace fastplr::solver
