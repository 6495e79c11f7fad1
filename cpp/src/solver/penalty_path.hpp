// Fits of one set of rows for several penalties, and the held-out logits that follow.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "log_loss.hpp"
#include "newton.hpp"
#include "reduced_design.hpp"

namespace fastplr::solver {

/// The rows of positive weight among those asked for, with the classes that occur renumbered from 0.
struct FitRows {
    std::vector<Index> rows;
    Eigen::VectorXi labels;  // positions in `classes`
    VectorXd weights;
    std::vector<int> classes;  // ascending
    int n_all_classes = 0;

    /// 1 for two classes; the softmax has one output for each class that occurs.
    Index n_outputs() const { return n_all_classes == 2 ? 1 : static_cast<Index>(classes.size()); }
};

/// `among`: row numbers to choose from.
FitRows rows_to_fit(const TrainingRows& rows, std::span<const std::int64_t> among);

using PathReport = std::function<void(std::size_t, const Iterate&, const NewtonReport&)>;

LogLoss loss_of(const FitRows& rows);

/// Fits `lambdas` from the largest to the smallest, each from the solution before, and reports each with its
/// position in `lambdas`. At least two classes must occur.
void follow_path(const DesignRows& design, const LogLoss& loss, std::span<const double> lambdas,
                 const NewtonSettings& settings, const PathReport& report);
void follow_path(const ReducedDesign& design, const FitRows& rows, std::span<const double> lambdas,
                 const NewtonSettings& settings, const PathReport& report);

/// Logits of all classes [n_test x n_all_classes] for rows `test`; -infinity for classes that did not occur
/// in the fit.
MatrixXd held_out_logits(const ReducedDesign& design, const FitRows& fitted, const Iterate& iterate,
                         std::span<const Index> test);

/// The same where only one class occurred: it is certain.
MatrixXd certain_logits(const FitRows& fitted, Index n_test);

}  // namespace fastplr::solver
