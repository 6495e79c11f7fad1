#include "conjugate_gradients.hpp"

#include <cmath>
#include <utility>

namespace fastplr::solver {

MatrixXd row_scores(const DesignRows& design, const MatrixXd& coordinates) {
    return design.matrix * coordinates;
}

MatrixXd pull_back(const DesignRows& design, const MatrixXd& row_values) {
    if (design.coordinates == Coordinates::gram) return row_values;
    return design.matrix.transpose() * row_values;
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
