#include "conjugate_gradients.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "parallel.hpp"
#include "products.hpp"

namespace fastplr::solver {
namespace {

/// Multiplications for which a thread is worth starting.
constexpr double kThreadedWork = 4e6;
template <typename Part>
void in_parts(Index n, double work, int n_threads, const Part& part) {
    const Index n_parts = work < kThreadedWork ? 1 : std::min<Index>(n_threads, n);
    parallel_for(n_parts, n_threads,
                 [&](Index i) { part(n * i / n_parts, n * (i + 1) / n_parts - n * i / n_parts); });
}

template <typename Matrix>
Matrix product(const Matrix& matrix, const Matrix& right, int n_threads) {
    Matrix result(matrix.rows(), right.cols());
    const double work = static_cast<double>(matrix.size()) * static_cast<double>(right.cols());
    in_parts(matrix.rows(), work, n_threads, [&](Index first, Index count) {
        multiply(matrix.middleRows(first, count), right, result.middleRows(first, count));
    });
    return result;
}

template <typename Matrix>
Matrix transposed_product(const Matrix& matrix, const Matrix& right, int n_threads) {
    Matrix result(matrix.cols(), right.cols());
    const double work = static_cast<double>(matrix.size()) * static_cast<double>(right.cols());
    in_parts(matrix.cols(), work, n_threads, [&](Index first, Index count) {
        multiply(matrix.middleCols(first, count).transpose(), right, result.middleRows(first, count));
    });
    return result;
}

/// To seven digits where the design has a rough matrix: enough within conjugate gradients, whose results are
/// checked with exact products.
MatrixXd rough_row_scores(const DesignRows& design, const MatrixXd& coordinates) {
    if (!design.rough) return row_scores(design, coordinates);
    const Eigen::MatrixXf right = coordinates.cast<float>();
    return product(*design.rough, right, design.n_threads).cast<double>();
}

MatrixXd rough_pull_back(const DesignRows& design, const MatrixXd& row_values) {
    if (!design.rough) return pull_back(design, row_values);
    const Eigen::MatrixXf right = row_values.cast<float>();
    return transposed_product(*design.rough, right, design.n_threads).cast<double>();
}

}  // namespace

MatrixXd row_scores(const DesignRows& design, const MatrixXd& coordinates) {
    return product(design.matrix(), coordinates, design.n_threads);
}

MatrixXd pull_back(const DesignRows& design, const MatrixXd& row_values) {
    if (design.coordinates == Coordinates::gram) return row_values;
    return transposed_product(design.matrix(), row_values, design.n_threads);
}

double inner_product(const DesignRows& design, const MatrixXd& left, const MatrixXd& right,
                     const MatrixXd& right_scores) {
    return left.cwiseProduct(design.coordinates == Coordinates::gram ? right_scores : right).sum();
}

Direction newton_direction(const DesignRows& design, const LogLoss& loss, const LossState& state,
                           double lambda, bool fit_intercept, const Preconditioner& preconditioner,
                           MatrixXd residual, MatrixXd residual_scores, VectorXd intercept_residual,
                           double reduction, int max_iter) {
    const bool gram = design.coordinates == Coordinates::gram;
    Direction found{{MatrixXd::Zero(residual.rows(), residual.cols()), VectorXd::Zero(residual.cols())},
                    MatrixXd::Zero(design.n_rows(), residual.cols()),
                    0};
    Step preconditioned = preconditioner.solve(residual, residual_scores, intercept_residual);
    MatrixXd preconditioned_scores = rough_row_scores(design, preconditioned.coordinates);
    const auto squared_norm = [&] {
        return inner_product(design, residual, preconditioned.coordinates, preconditioned_scores) +
               intercept_residual.dot(preconditioned.intercepts);
    };
    double norm = squared_norm();
    const double wanted = norm * reduction * reduction;
    Step search = preconditioned;
    MatrixXd search_scores = preconditioned_scores;

    while (found.n_iter < max_iter && norm > 0.0) {
        ++found.n_iter;
        MatrixXd change = search_scores;
        change.rowwise() += search.intercepts.transpose();
        const MatrixXd curved = loss.curvature_product(state, change);
        MatrixXd applied = rough_pull_back(design, curved);
        applied += lambda * search.coordinates;
        const double curvature =
            curved.cwiseProduct(change).sum() +
            lambda * inner_product(design, search.coordinates, search.coordinates, search_scores);
        if (!(curvature > 0.0) || !std::isfinite(curvature)) break;
        const double length = norm / curvature;
        found.step.coordinates += length * search.coordinates;
        found.step.intercepts += length * search.intercepts;
        found.scores += length * search_scores;
        if (found.n_iter == max_iter) break;

        residual -= length * applied;
        if (gram) residual_scores = row_scores(design, residual);
        if (fit_intercept) intercept_residual -= length * curved.colwise().sum().transpose();
        preconditioned = preconditioner.solve(residual, residual_scores, intercept_residual);
        preconditioned_scores = rough_row_scores(design, preconditioned.coordinates);
        const double next = squared_norm();
        if (!(next > wanted)) break;
        search.coordinates = preconditioned.coordinates + (next / norm) * search.coordinates;
        search.intercepts = preconditioned.intercepts + (next / norm) * search.intercepts;
        search_scores = preconditioned_scores + (next / norm) * search_scores;
        norm = next;
    }
    return found;
}

}  // namespace fastplr::solver
