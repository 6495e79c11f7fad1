// Scores of held-out rows, as scikit-learn defines them.
#pragma once

#include "fastplr/logistic_regression.hpp"
#include "reduced_design.hpp"

namespace fastplr::solver {

/// `logits`: [n_rows x n_classes], -infinity for a class of probability 0. Larger is better.
double score_rows(const MatrixXd& logits, const Eigen::VectorXi& labels, const VectorXd& weights,
                  Scoring scoring);

}  // namespace fastplr::solver
