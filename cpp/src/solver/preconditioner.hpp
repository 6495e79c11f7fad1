// Cholesky factors of the Newton systems of single classes: exact for two classes, a preconditioner for more.
#pragma once

#include <Eigen/Cholesky>
#include <vector>

#include "reduced_design.hpp"

namespace fastplr::solver {

/// A step in the coordinates of a design and in the intercepts.
struct Step {
    MatrixXd coordinates;  // [n_coordinates x n_outputs]
    VectorXd intercepts;   // [n_outputs]
};

/// Solves, for each class k on its own,
///     [X' W_k X + lambda I   X' w_k    ] [step     ]   [residual_k          ]
///     [w_k' X                sum_i w_ki] [intercept] = [intercept_residual_k]
/// and projects the steps of several classes to sum zero, where those of the softmax lie. For the softmax
/// this bounds the Newton matrix within a factor 2 from above (its second derivative is a weighted Laplacian,
/// at most twice its diagonal).
class Preconditioner {
  public:
    /// `row_weights`: [n_rows x n_outputs], or [n_rows x 1] for one factor that all classes share.
    Preconditioner(const DesignRows& design, const MatrixXd& row_weights, double lambda, bool fit_intercept);

    /// `residual`: [n_coordinates x n_outputs]; `gram_residual`: the Gram matrix times it (not used in primal
    /// form).
    Step solve(const MatrixXd& residual, const MatrixXd& gram_residual,
               const VectorXd& intercept_residual) const;

    bool per_class() const { return factors_.size() > 1; }

  private:
    struct Factor {
        Eigen::LLT<MatrixXd> cholesky;
        VectorXd weights;    // gram: square roots of the row weights
        VectorXd bordering;  // gram: coordinates of (X' W X + lambda I)^-1 X' w; primal: X' w
        double schur = 0.0;  // what is left of sum_i w_i once the other block is eliminated
    };

    void factorise_gram(const DesignRows& design, const VectorXd& row_weights, Factor& factor) const;
    void factorise_primal(const DesignRows& design, const VectorXd& row_weights, Factor& factor) const;

    Coordinates coordinates_;
    double lambda_;
    bool fit_intercept_;
    std::vector<Factor> factors_;
};

}  // namespace fastplr::solver
