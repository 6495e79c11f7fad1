// What a fit would say of each of its rows had it not seen the row, from the one fit.
#pragma once

#include "log_loss.hpp"
#include "newton.hpp"
#include "reduced_design.hpp"

namespace fastplr::solver {

/// Held-out scores [n_rows x n_outputs], intercepts included: for each row one Newton step from the optimum
/// of all rows towards that of the others (Rad and Maleki, "A scalable estimate of the out-of-sample
/// prediction error via approximate leave-one-out", arXiv 1801.10243, equation 8, here for several outputs at
/// once).
///
/// With S the second-order response of row i's scores to its own residual r_i and W_i the curvature of its
/// loss, the step changes its scores by S_i (I - W_i S_i)^-1 r_i. One matrix of the order
/// min(n_rows, n_coordinates + 1) (n_outputs - 1) is inverted (n_outputs = 1 counts as 2).
///
/// \param iterate an optimum for `lambda` > 0.
MatrixXd leave_one_out_scores(const DesignRows& design, const LogLoss& loss, const Iterate& iterate,
                              double lambda, bool fit_intercept);

/// That order.
Index leave_one_out_order(const DesignRows& design, Index n_outputs);

}  // namespace fastplr::solver
