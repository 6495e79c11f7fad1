// The Newton direction, by preconditioned conjugate gradients without forming the Newton matrix of all
// classes.
#pragma once

#include "log_loss.hpp"
#include "preconditioner.hpp"
#include "reduced_design.hpp"

namespace fastplr::solver {

/// Scores without intercept that coordinates give to the rows of the design.
MatrixXd row_scores(const DesignRows& design, const MatrixXd& coordinates);

/// X' `row_values` in the coordinates of the design. In Gram form these are the row values themselves.
MatrixXd pull_back(const DesignRows& design, const MatrixXd& row_values);

/// Inner product of two coefficient matrices given by coordinates; `right_scores` are the row scores of the
/// second.
double inner_product(const DesignRows& design, const MatrixXd& left, const MatrixXd& right,
                     const MatrixXd& right_scores);

struct Direction {
    Step step;
    MatrixXd scores;  // row scores of step.coordinates
    int n_iter = 0;
};

/// Solves H direction = (residual, intercept_residual), H the second derivative of the penalised loss at
/// `state`, until the residual in the norm of the preconditioner has shrunk by `reduction`, or for `max_iter`
/// iterations. `residual_scores`: row scores of `residual` (not used in primal form).
Direction newton_direction(const DesignRows& design, const LogLoss& loss, const LossState& state,
                           double lambda, bool fit_intercept, const Preconditioner& preconditioner,
                           MatrixXd residual, MatrixXd residual_scores, VectorXd intercept_residual,
                           double reduction, int max_iter);

}  // namespace fastplr::solver
