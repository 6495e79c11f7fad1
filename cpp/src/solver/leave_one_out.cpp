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

/// I - root_i' S_i root_i of every row, where S is the covariance of its contrasts under the second
/// derivative of the objective. From the inverse of M = lambda I + root' (G x I) root, of order n m:
/// root' S root = I - lambda M^-1, and the intercepts take away as many directions.
std::vector<MatrixXd> rests_in_gram_form(const MatrixXd& gram, const std::vector<MatrixXd>& roots,
                                         double lambda, bool fit_intercept) {
    const auto n = static_cast<Index>(roots.size());
    const Index m = roots.front().rows();
    MatrixXd system(n * m, n * m);
    for (Index j = 0; j < n; ++j) {
        for (Index i = j; i < n; ++i) {
            system.block(i * m, j * m, m, m).noalias() = gram(i, j) *
                                                         roots[static_cast<std::size_t>(i)].transpose() *
                                                         roots[static_cast<std::size_t>(j)];
        }
    }
    system.diagonal().array() += lambda;
    const Eigen::LLT<MatrixXd> cholesky(system.selfadjointView<Eigen::Lower>());
    system.setIdentity();
    // lambda M^-1 = Y' Y, of which only blocks on the diagonal are wanted.
    cholesky.matrixL().solveInPlace(system);
    system *= std::sqrt(lambda);
    MatrixXd intercept_rows;  // lambda M^-1 root' (1 x I)
    Eigen::LLT<MatrixXd> intercepts;
    if (fit_intercept) {
        MatrixXd stacked(n * m, m);
        for (Index i = 0; i < n; ++i)
            stacked.middleRows(i * m, m) = roots[static_cast<std::size_t>(i)].transpose();
        intercept_rows = lambda * cholesky.solve(stacked);
        intercepts.compute(stacked.transpose() * intercept_rows);
    }
    std::vector<MatrixXd> rests;
    for (Index i = 0; i < n; ++i) {
        const auto columns = system.block(i * m, i * m, n * m - i * m, m);  // Y is lower triangular
        MatrixXd rest = columns.transpose() * columns;
        if (fit_intercept) {
            const MatrixXd own = intercept_rows.middleRows(i * m, m);
            rest -= own * intercepts.solve(own.transpose());
        }
        rests.push_back(std::move(rest));
    }
    return rests;
}

/// The same from H, the second derivative by coefficients (and intercepts) of all contrasts.
std::vector<MatrixXd> rests_in_primal_form(const MatrixXd& features, const std::vector<MatrixXd>& roots,
                                           double lambda, bool fit_intercept) {
    const Index n = features.rows();
    const Index m = roots.front().rows();
    const Index n_own = features.cols() + (fit_intercept ? 1 : 0);
    // Coefficients of one contrast stand together.
    const auto design = [&](Index i) {
        MatrixXd rows(n_own * m, m);
        VectorXd row(n_own);
        row.head(features.cols()) = features.row(i).transpose();
        if (fit_intercept) row[n_own - 1] = 1.0;
        const MatrixXd& root = roots[static_cast<std::size_t>(i)];
        for (Index k = 0; k < m; ++k) rows.middleRows(k * n_own, n_own) = row * root.row(k);
        return rows;
    };
    MatrixXd second = MatrixXd::Zero(n_own * m, n_own * m);
    for (Index i = 0; i < n; ++i) second.selfadjointView<Eigen::Lower>().rankUpdate(design(i));
    for (Index k = 0; k < m; ++k) second.diagonal().segment(k * n_own, features.cols()).array() += lambda;
    const Eigen::LLT<MatrixXd> cholesky(second.selfadjointView<Eigen::Lower>());
    std::vector<MatrixXd> rests;
    for (Index i = 0; i < n; ++i) {
        MatrixXd columns = design(i);
        cholesky.matrixL().solveInPlace(columns);
        rests.emplace_back(MatrixXd::Identity(m, m) - columns.transpose() * columns);
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
        rests = rests_in_gram_form(design.matrix, roots, lambda, fit_intercept);
    } else if (design.n_rows() <= design.n_coordinates()) {
        rests = rests_in_gram_form(design.matrix * design.matrix.transpose(), roots, lambda, fit_intercept);
    } else {
        rests = rests_in_primal_form(design.matrix, roots, lambda, fit_intercept);
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
