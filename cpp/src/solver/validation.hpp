// Checks of what a caller passes to the solver; every failure is an InputError that names the value.
#pragma once

#include <span>

#include "fastplr/logistic_regression.hpp"

namespace fastplr::solver {

/// Shapes, labels, weights (features are checked where they are read), tol, max_iter, n_threads.
void check_rows(const TrainingRows& rows, const SolverOptions& options);

/// Each finite and >= 0, at least one.
void check_lambdas(std::span<const double> lambdas);

/// At least one fold; rows in range, none both trained on and scored, scored rows with positive weight.
void check_folds(const TrainingRows& rows, std::span<const Fold> folds,
                 std::span<const double> score_weights);

}  // namespace fastplr::solver
