// A linear model of what taking spans out of a text does to the logit.
#pragma once

#include <Eigen/Core>

#include "explain/variants.hpp"

namespace fastplr {

struct SurrogateValues {
    Eigen::MatrixXd values;           ///< [n_spans, n_rows]
    Eigen::MatrixXd standard_errors;  ///< as `values`; empty where the sample was every coalition
};

/// By how much each span's removal lowers the logit: v of the model v(all) - v(coalition) = sum of v over the
/// spans that are taken out + noise, whose variance is in proportion to their number, fitted by least squares
/// with the sample's weights.
///
/// Where the sample is not every coalition, values have a normal prior around `prior`; its variance and the
/// noise's maximise the evidence. Estimates are then the posterior's means, with the noise's variance times
/// the share of all coalitions that are not in the sample, standard errors its standard deviations.
///
/// \param of_coalition [coalitions, n_rows] \param all [n_rows] \param prior [n_spans, n_rows]
SurrogateValues surrogate_values(const CoalitionSample& sample, const Eigen::MatrixXd& of_coalition,
                                 const Eigen::RowVectorXd& all, const Eigen::MatrixXd& prior);

}  // namespace fastplr
