// The weighted log-loss, its derivatives and its share of the duality gap, for two classes and for symmetric
// softmax.
#pragma once

#include <Eigen/Core>

#include "reduced_design.hpp"

namespace fastplr::solver {

/// The loss and its derivatives at some scores [n_rows x n_outputs]; n_outputs is 1 for two classes.
struct LossState {
    /// sum_i w_i log_loss_i
    double loss = 0.0;
    /// w_i (p_ik - y_ik), the derivative by the scores. Exact to a few ulps even where p is within 1e-300 of
    /// y.
    MatrixXd residual;
    /// Softmax only: p_ik.
    MatrixXd probabilities;
    /// Diagonal of the second derivative by the scores: w_i p_ik (1 - p_ik).
    MatrixXd curvature;
};

class LogLoss {
  public:
    /// labels in 0..n_classes-1; weights > 0. `n_outputs` is 1 (two classes, scores are those of class 1) or
    /// n_classes.
    LogLoss(Eigen::VectorXi labels, VectorXd weights, Index n_classes, Index n_outputs);

    Index n_rows() const { return labels_.size(); }
    Index n_outputs() const { return n_outputs_; }
    const VectorXd& weights() const { return weights_; }

    void evaluate(const MatrixXd& scores, LossState& state) const;

    /// loss and residual alone: what a line search needs.
    void evaluate_slope(const MatrixXd& scores, LossState& state) const;

    /// The second derivative at `state` times a change of the scores.
    MatrixXd curvature_product(const LossState& state, const MatrixXd& change) const;

    /// Moves the probabilities so that each class gets as much weight as its rows have (which the dual of an
    /// unpenalised intercept demands): writes the change of the residual to `change` and returns sum_i w_i
    /// KL(q_i || p_i).
    double balance(const MatrixXd& scores, const LossState& state, MatrixXd& change) const;

    /// Row weights for one system shared by all classes, [n_rows x 1].
    MatrixXd shared_curvature(const LossState& state) const;

    /// Intercepts of the best fit without features.
    VectorXd null_intercepts() const;

    /// Whether every row scores highest, strictly, for its own class.
    bool separates(const MatrixXd& scores) const;

  private:
    void evaluate_binary(const MatrixXd& scores, LossState& state, bool with_curvature) const;
    void evaluate_softmax(const MatrixXd& scores, LossState& state, bool with_curvature) const;

    Eigen::VectorXi labels_;
    VectorXd weights_;
    VectorXd class_weights_;  // sum of the weights of each class
    Index n_outputs_;
};

}  // namespace fastplr::solver
