// Shapley values out of the values of coalitions.
#pragma once

#include <Eigen/Core>
#include <vector>

#include "explain/variants.hpp"

namespace fastplr {

struct ShapleyValues {
    Eigen::MatrixXd values;           ///< [n_spans, n_rows]
    Eigen::MatrixXd standard_errors;  ///< as `values`; empty where these are exact
};

/// Exact, by Shapley's formula: `of_coalition` [2^n, n_rows] has the value of every coalition, whose number
/// has bit i set where span i is kept.
Eigen::MatrixXd exact_shapley_values(const Eigen::MatrixXd& of_coalition);

/// From a sample. The value of a coalition is modelled as the sum of its members' values plus independent
/// noise, of one variance over the coalition's weight, with v(all) - v(none) as the sum over all (Lundberg &
/// Lee, arXiv 1705.07874, theorem 2). Values have a normal prior around `prior`,
/// shifted to that sum; both variances maximise the evidence (EvidenceRidge). Estimates are the posterior's
/// means, with the noise's variance times the share of all coalitions that are not in the sample, standard
/// errors its standard deviations: with few samples what the samples do not tell stays with the prior.
///
/// \param of_coalition [coalitions, n_rows] \param none, all [n_rows] \param prior [n_spans, n_rows]
ShapleyValues estimate_shapley_values(const CoalitionSample& sample, const Eigen::MatrixXd& of_coalition,
                                      const Eigen::RowVectorXd& none, const Eigen::RowVectorXd& all,
                                      const Eigen::MatrixXd& prior);

}  // namespace fastplr
