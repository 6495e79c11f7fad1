// Cholesky factors of the Newton systems of single classes: exact for two classes, a preconditioner for more.
#pragma once

#include <Eigen/Cholesky>
#include <optional>
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
///
/// Keeps its memory from one factorisation to the next. The design must outlive it.
class Preconditioner {
  public:
    Preconditioner(const DesignRows& design, bool fit_intercept, int n_threads);

    /// `row_weights`: [n_rows x n_outputs], or [n_rows x 1] for one factor that all classes share.
    void factorise(const MatrixXd& row_weights, double lambda);

    /// `residual`: [n_coordinates x n_outputs]; `gram_residual`: the Gram matrix times it (not used in primal
    /// form).
    Step solve(const MatrixXd& residual, const MatrixXd& gram_residual,
               const VectorXd& intercept_residual) const;

    /// Whether there is a factor, of one system for each of `n_factors`.
    bool has_factors(Index n_factors) const { return static_cast<Index>(factors_.size()) == n_factors; }

    /// How far the systems of these row weights and this lambda are from those that were factorised: about
    /// the condition number of the one preconditioned by the other, less 1.
    double drift(const MatrixXd& row_weights, double lambda) const;

  private:
    struct Factor {
        MatrixXd storage;  // of the Cholesky factor
        std::optional<Eigen::LLT<Eigen::Ref<MatrixXd>>> cholesky;
        VectorXd weights;    // gram: square roots of the row weights
        VectorXd bordering;  // gram: coordinates of (X' W X + lambda I)^-1 X' w; primal: X' w
        double schur = 0.0;  // what is left of sum_i w_i once the other block is eliminated
    };

    void factorise_gram(const VectorXd& row_weights, Factor& factor) const;
    void factorise_primal(const VectorXd& row_weights, int n_threads, Factor& factor) const;
    void solve_part(const Factor& factor, Index first, Index count, const MatrixXd& residual,
                    const MatrixXd& gram_residual, const VectorXd& intercept_residual, Step& step) const;

    const DesignRows& design_;
    bool fit_intercept_;
    int n_threads_;
    VectorXd squared_norms_;  // of the rows
    double lambda_ = 0.0;
    MatrixXd row_weights_;
    std::vector<Factor> factors_;
};

}  // namespace fastplr::solver
