#include "conjugate_gradients.hpp"

#include <algorithm>
#include <cmath>
#include <utility>

#include "parallel.hpp"

namespace fastplr::solver {
namespace {

/// Multiplications for which a thread is worth starting.
constexpr double kThreadedWork = 1e6;
/// Columns up to which as many products with a vector are faster than one with a matrix, which copies its
/// factors.
constexpr Index kFewColumns = 8;

template <typename Part>
void in_parts(Index n, double work, int n_threads, const Part& part) {
    const Index n_parts = work < kThreadedWork ? 1 : std::min<Index>(n_threads, n);
    parallel_for(n_parts, n_threads,
                 [&](Index i) { part(n * i / n_parts, n * (i + 1) / n_parts - n * i / n_parts); });
}

template <typename Left, typename Result>
void multiply(const Left& left, const MatrixXd& right, Result&& result) {
    if (right.cols() > kFewColumns) {
        result.noalias() = left * right;
        return;
    }
    for (Index k = 0; k < right.cols(); ++k) result.col(k).noalias() = left * right.col(k);
}

}  // namespace

MatrixXd row_scores(const DesignRows& design, const MatrixXd& coordinates) {
    MatrixXd scores(design.n_rows(), coordinates.cols());
    const double work = static_cast<double>(design.matrix().size()) * static_cast<double>(coordinates.cols());
    in_parts(design.n_rows(), work, design.n_threads, [&](Index first, Index count) {
        multiply(design.matrix().middleRows(first, count), coordinates, scores.middleRows(first, count));
    });
    return scores;
}

MatrixXd pull_back(const DesignRows& design, const MatrixXd& row_values) {
    if (design.coordinates == Coordinates::gram) return row_values;
    MatrixXd pulled(design.n_coordinates(), row_values.cols());
    const double work = static_cast<double>(design.matrix().size()) * static_cast<double>(row_values.cols());
    in_parts(design.n_coordinates(), work, design.n_threads, [&](Index first, Index count) {
        multiply(design.matrix().middleCols(first, count).transpose(), row_values,
                 pulled.middleRows(first, count));
    });
    return pulled;
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
    MatrixXd preconditioned_scores = row_scores(design, preconditioned.coordinates);
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
        MatrixXd product = pull_back(design, curved);
        product += lambda * search.coordinates;
        const double curvature =
            curved.cwiseProduct(change).sum() +
            lambda * inner_product(design, search.coordinates, search.coordinates, search_scores);
        if (!(curvature > 0.0) || !std::isfinite(curvature)) break;
        const double length = norm / curvature;
        found.step.coordinates += length * search.coordinates;
        found.step.intercepts += length * search.intercepts;
        found.scores += length * search_scores;
        if (found.n_iter == max_iter) break;

        residual -= length * product;
        if (gram) residual_scores = row_scores(design, residual);
        if (fit_intercept) intercept_residual -= length * curved.colwise().sum().transpose();
        preconditioned = preconditioner.solve(residual, residual_scores, intercept_residual);
        preconditioned_scores = row_scores(design, preconditioned.coordinates);
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
