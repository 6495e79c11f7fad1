// The features of all training rows in the few dimensions in which Newton works.
#pragma once

#include <Eigen/Core>
#include <functional>
#include <memory>
#include <span>
#include <vector>

#include "fastplr/logistic_regression.hpp"

namespace fastplr::solver {

using Index = Eigen::Index;
using Eigen::MatrixXd;
using Eigen::VectorXd;

/// How the coordinates of a design relate to the coefficients B.
enum class Coordinates {
    /// Coordinates A [n_rows x n_outputs] with B = X' A; `matrix` is the Gram matrix X X'.
    gram,
    /// Coordinates are B in an orthonormal basis of the row space of X (or in the features themselves);
    /// `matrix` is X in it.
    primal,
};

/// A subset of the rows of a reduced design: what one Newton fit works on.
struct DesignRows {
    Coordinates coordinates = Coordinates::gram;
    std::shared_ptr<const MatrixXd> storage;
    int n_threads = 1;
    /// The same in half the memory, for products that need not be exact; none where they are cheap anyway.
    std::shared_ptr<const Eigen::MatrixXf> rough;
    /// Row scores of coordinates, [n x n_outputs], from the features themselves: where `matrix` was computed
    /// in single precision. Empty elsewhere.
    std::function<MatrixXd(const MatrixXd& coordinates)> exact_scores;

    /// gram: [n x n]; primal: [n x n_coordinates].
    const MatrixXd& matrix() const { return *storage; }
    Index n_rows() const { return matrix().rows(); }
    Index n_coordinates() const { return matrix().cols(); }
};

/// How many digits a Gram matrix has.
enum class GramDigits {
    all,
    /// About 6, in half the time, where that is worth it and the penalty is not too small beside it. Fits
    /// take exact scores at the end; scores() is not exact.
    few,
};

/// Built once from the features; folds only take rows of it. With an intercept the features are centred
/// first: that shifts the intercept, leaves everything else as it was, and keeps the systems well
/// conditioned.
class ReducedDesign {
  public:
    /// `largest_weight_per_lambda`: largest row weight over smallest lambda, infinite where that is 0. Where
    /// it is too large for the Gram matrix, coordinates are primal, in an orthonormal basis of the row space.
    /// Throws InputError for a feature that is not finite.
    ReducedDesign(const FeatureView& features, SolverForm form, int n_classes, bool centre,
                  double largest_weight_per_lambda, int n_threads, GramDigits digits = GramDigits::all);

    SolverForm form() const { return form_; }

    /// What it came to: `all` where few were not worth it or not enough, and in primal form.
    GramDigits gram_digits() const { return digits_; }

    /// The design of these rows; `n_threads` share its products. Not to be used after this object.
    DesignRows take(std::span<const Index> rows, int n_threads = 1) const;

    /// Scores without intercept [test x n_outputs] of rows `test` for coordinates fitted on rows `train`.
    MatrixXd scores(std::span<const Index> test, std::span<const Index> train,
                    const MatrixXd& coordinates) const;

    /// Coefficients [n_features x n_outputs] for coordinates fitted on rows `train`.
    MatrixXd coefficients(std::span<const Index> train, const MatrixXd& coordinates) const;

    /// What the features were centred by, [n_features]; zeros where they were not.
    const VectorXd& feature_means() const { return means_; }

  private:
    /// X X' A of all rows, without a Gram matrix.
    MatrixXd scores_of_features(const MatrixXd& dual) const;

    FeatureView features_;
    SolverForm form_;
    Coordinates coordinates_;
    VectorXd means_;
    bool directly_;  // products with the features are taken of the caller's memory and centred afterwards
    GramDigits digits_ = GramDigits::all;
    std::shared_ptr<const MatrixXd> matrix_;
    /// Rank-revealing basis: B = X' row_basis_ C. Empty where coordinates need no such map.
    MatrixXd row_basis_;
    int n_threads_;
};

}  // namespace fastplr::solver
