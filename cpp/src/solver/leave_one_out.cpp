#include "leave_one_out.hpp"

#include <Eigen/Cholesky>
#include <Eigen/Eigenvalues>
#include <Eigen/QR>
#include <algorithm>
#include <vector>

namespace fastplr::solver {
namespace {

/// Curvatures smaller than this share of a row's weight are taken for as much: the step divides by their
/// roots.
constexpr double kSmallestCurvature = 1e-10;
/// What is left of a row's own say once its curvature is taken away, at the least: 0 where the others leave a
/// direction open.
constexpr double kSmallestRest = 1e-8;
/// Order up to which a triangle is inverted by substitution.
constexpr Index kSmallTriangle = 48;
/// Rows whose systems are solved together.
constexpr Index kRowsAtATime = 64;

/// Orthonormal directions of scores that the softmax can tell apart, those that sum to zero:
/// [n_outputs x (n_outputs - 1)]. For two classes there is one score, and it is one.
MatrixXd contrasts(Index n_outputs) {
    if (n_outputs == 1) return MatrixXd::Ones(1, 1);
    MatrixXd basis = MatrixXd::Zero(n_outputs, n_outputs - 1);  // Helmert's
    for (Index j = 0; j + 1 < n_outputs; ++j) {
        const double scale = 1.0 / std::sqrt(static_cast<double>((j + 1) * (j + 2)));
        basis.col(j).head(j + 1).setConstant(scale);
        basis(j + 1, j) = -static_cast<double>(j + 1) * scale;
    }
    return basis;
}

/// For each row a root of the second derivative of its loss by contrasts, [m x m]: root root' = W.
std::vector<MatrixXd> curvature_roots(const LogLoss& loss, const LossState& state, const MatrixXd& basis,
                                      std::vector<MatrixXd>& inverses) {
    const Index m = basis.cols();
    std::vector<MatrixXd> roots;
    for (Index i = 0; i < loss.n_rows(); ++i) {
        const double weight = loss.weights()[i];
        MatrixXd curvature(m, m);
        if (loss.n_outputs() == 1) {
            curvature(0, 0) = state.curvature(i, 0);
        } else {
            const VectorXd p = state.probabilities.row(i).transpose();
            const VectorXd mean = basis.transpose() * p;
            curvature = weight * (basis.transpose() * p.asDiagonal() * basis - mean * mean.transpose());
        }
        const Eigen::SelfAdjointEigenSolver<MatrixXd> eigen(curvature);
        const VectorXd values = eigen.eigenvalues().cwiseMax(kSmallestCurvature * weight).cwiseSqrt();
        roots.emplace_back(eigen.eigenvectors() * values.asDiagonal());
        inverses.emplace_back(values.cwiseInverse().asDiagonal() * eigen.eigenvectors().transpose());
    }
    return roots;
}

/// The inverse of a lower triangle, in its place. By halves, so that nearly all of the work is in products of
/// matrices.
void invert_lower(Eigen::Ref<MatrixXd> lower) {
    const Index n = lower.rows();
    if (n <= kSmallTriangle) {
        MatrixXd inverse = MatrixXd::Identity(n, n);
        lower.triangularView<Eigen::Lower>().solveInPlace(inverse);
        lower.triangularView<Eigen::Lower>() = inverse;
        return;
    }
    const Index half = n / 2;
    auto first = lower.topLeftCorner(half, half);
    auto last = lower.bottomRightCorner(n - half, n - half);
    invert_lower(first);
    invert_lower(last);
    auto between = lower.bottomLeftCorner(n - half, half);
    const MatrixXd product = last.triangularView<Eigen::Lower>() * between;
    between = -(product * first.triangularView<Eigen::Lower>());
}

/// I - root_i' S_i root_i of every row, where S is the covariance of its contrasts under the second
/// derivative of the objective. From the inverse of M = lambda I + root' (G x I) root, of order n m:
/// root' S root = I - lambda M^-1, and the intercepts take away as many directions.
std::vector<MatrixXd> rests_in_gram_form(const MatrixXd& gram, const std::vector<MatrixXd>& roots,
                                         double lambda, bool fit_intercept) {
    const auto n = static_cast<Index>(roots.size());
    const Index m = roots.front().rows();
    MatrixXd stacked(n * m, m);  // the transposed roots below one another
    for (Index i = 0; i < n; ++i) {
        stacked.middleRows(i * m, m) = roots[static_cast<std::size_t>(i)].transpose();
    }
    MatrixXd system(n * m, n * m);
    MatrixXd products;
    for (Index j = 0; j < n; ++j) {
        const Index n_below = (n - j) * m;
        products.noalias() = stacked.bottomRows(n_below) * roots[static_cast<std::size_t>(j)];
        for (Index k = 0; k < m; ++k) {
            double* column = &system(j * m, j * m + k);
            const double* product = &products(0, k);
            for (Index i = j; i < n; ++i) {
                for (Index l = 0; l < m; ++l) *column++ = gram(i, j) * *product++;
            }
        }
    }
    system.diagonal().array() += lambda;
    Eigen::LLT<Eigen::Ref<MatrixXd>> cholesky(system);
    invert_lower(system);
    // lambda M^-1 = Y' Y, of which only blocks on the diagonal are wanted.
    system.triangularView<Eigen::StrictlyUpper>().setZero();
    system *= std::sqrt(lambda);
    MatrixXd intercept_rows;  // lambda M^-1 root' (1 x I)
    Eigen::LLT<MatrixXd> intercepts;
    if (fit_intercept) {
        const MatrixXd half = system.triangularView<Eigen::Lower>() * stacked;
        intercept_rows = system.transpose().triangularView<Eigen::Upper>() * half;
        intercepts.compute(stacked.transpose() * intercept_rows);
    }
    std::vector<MatrixXd> rests;
    rests.reserve(roots.size());
    for (Index i = 0; i < n; ++i) {
        const auto columns = system.block(i * m, i * m, n * m - i * m, m);
        MatrixXd rest = columns.transpose() * columns;
        if (fit_intercept) {
            const MatrixXd own = intercept_rows.middleRows(i * m, m);
            rest -= own * intercepts.solve(own.transpose());
        }
        rests.push_back(std::move(rest));
    }
    return rests;
}

/// The same from H, the second derivative by coefficients (and intercepts) of all contrasts, those of one
/// contrast together.
std::vector<MatrixXd> rests_in_primal_form(const MatrixXd& features, const std::vector<MatrixXd>& roots,
                                           double lambda, bool fit_intercept) {
    const Index n = features.rows();
    const Index m = roots.front().rows();
    const Index n_own = features.cols() + (fit_intercept ? 1 : 0);
    MatrixXd design = MatrixXd::Ones(n, n_own);
    design.leftCols(features.cols()) = features;
    MatrixXd second(n_own * m, n_own * m);
    MatrixXd weighted(n, n_own);
    for (Index k = 0; k < m; ++k) {
        for (Index l = 0; l <= k; ++l) {
            for (Index i = 0; i < n; ++i) {
                const MatrixXd& root = roots[static_cast<std::size_t>(i)];
                weighted.row(i) = root.row(k).dot(root.row(l)) * design.row(i);
            }
            second.block(k * n_own, l * n_own, n_own, n_own).noalias() = design.transpose() * weighted;
        }
        second.diagonal().segment(k * n_own, features.cols()).array() += lambda;
    }
    const Eigen::LLT<Eigen::Ref<MatrixXd>> cholesky(second);
    std::vector<MatrixXd> rests;
    rests.reserve(roots.size());
    MatrixXd columns;
    for (Index first = 0; first < n; first += kRowsAtATime) {
        const Index count = std::min(kRowsAtATime, n - first);
        columns.resize(n_own * m, count * m);
        for (Index i = 0; i < count; ++i) {
            const MatrixXd& root = roots[static_cast<std::size_t>(first + i)];
            for (Index k = 0; k < m; ++k) {
                columns.block(k * n_own, i * m, n_own, m).noalias() =
                    design.row(first + i).transpose() * root.row(k);
            }
        }
        cholesky.matrixL().solveInPlace(columns);
        for (Index i = 0; i < count; ++i) {
            const auto own = columns.middleCols(i * m, m);
            rests.emplace_back(MatrixXd::Identity(m, m) - own.transpose() * own);
        }
    }
    return rests;
}

}  // namespace

Index leave_one_out_order(const DesignRows& design, Index n_outputs) {
    const Index m = std::max<Index>(1, n_outputs - 1);
    if (design.coordinates == Coordinates::gram) return design.n_rows() * m;
    return std::min(design.n_rows(), design.n_coordinates() + 1) * m;
}

MatrixXd leave_one_out_scores(const DesignRows& design, const LogLoss& loss, const Iterate& iterate,
                              double lambda, bool fit_intercept) {
    MatrixXd scores = iterate.scores.rowwise() + iterate.intercepts.transpose();
    LossState state;
    loss.evaluate(scores, state);
    const MatrixXd basis = contrasts(loss.n_outputs());
    std::vector<MatrixXd> inverses;
    const std::vector<MatrixXd> roots = curvature_roots(loss, state, basis, inverses);
    std::vector<MatrixXd> rests;
    if (design.coordinates == Coordinates::gram) {
        rests = rests_in_gram_form(design.matrix(), roots, lambda, fit_intercept);
    } else if (design.n_rows() <= design.n_coordinates()) {
        rests =
            rests_in_gram_form(design.matrix() * design.matrix().transpose(), roots, lambda, fit_intercept);
    } else {
        rests = rests_in_primal_form(design.matrix(), roots, lambda, fit_intercept);
    }
    const Index m = basis.cols();
    for (Index i = 0; i < design.n_rows(); ++i) {
        const auto at = static_cast<std::size_t>(i);
        // S (I - W S)^-1 r = root'^-1 ((I - root' S root)^-1 - I) root^-1 r
        const VectorXd residual = inverses[at] * (basis.transpose() * state.residual.row(i).transpose());
        const Eigen::SelfAdjointEigenSolver<MatrixXd> rest(rests[at]);
        const VectorXd gain =
            rest.eigenvalues().cwiseMax(kSmallestRest).cwiseMin(1.0).cwiseInverse() - VectorXd::Ones(m);
        const VectorXd step =
            rest.eigenvectors() * (gain.asDiagonal() * (rest.eigenvectors().transpose() * residual));
        scores.row(i) += (basis * (inverses[at].transpose() * step)).transpose();
    }
    return scores;
}

}  // namespace fastplr::solver
