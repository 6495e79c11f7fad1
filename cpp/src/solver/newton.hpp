// Newton's method for one penalty: inexact steps by preconditioned conjugate gradients, a line search, a
// certificate.
#pragma once

#include "log_loss.hpp"
#include "preconditioner.hpp"
#include "reduced_design.hpp"

namespace fastplr::solver {

/// Where a fit stands; also its warm start.
struct Iterate {
    MatrixXd coordinates;  // [n_coordinates x n_outputs]
    MatrixXd scores;       // [n_rows x n_outputs], without the intercepts
    VectorXd intercepts;   // [n_outputs]
};

struct NewtonSettings {
    double tol = 1e-8;
    int max_iter = 100;
    bool fit_intercept = true;
    bool polish = false;
    int n_threads = 1;
};

struct NewtonReport {
    double objective = 0.0;
    double gap = 0.0;  // relative; see logistic_regression.hpp
    int n_iter = 0;
    bool converged = false;
};

/// No coefficients, and the intercepts that fit best without them.
Iterate null_iterate(const DesignRows& design, const LogLoss& loss, bool fit_intercept);

/// Improves `iterate` until its relative duality gap is at most tol, or max_iter steps were taken, or
/// rounding stops progress. lambda = 0 needs primal coordinates. `preconditioner` is of the same design;
/// factors that an earlier call left in it are used while they are good.
NewtonReport minimise(const DesignRows& design, const LogLoss& loss, double lambda,
                      const NewtonSettings& settings, Preconditioner& preconditioner, Iterate& iterate);

/// sum_i w_i log_loss_i + lambda / 2 ||B||^2
double objective(const DesignRows& design, const LogLoss& loss, double lambda, const Iterate& iterate);

}  // namespace fastplr::solver
