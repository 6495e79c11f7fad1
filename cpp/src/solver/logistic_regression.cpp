#include "fastplr/logistic_regression.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <mutex>
#include <numeric>
#include <string>
#include <utility>

#include "fastplr/errors.hpp"
#include "leave_one_out.hpp"
#include "parallel.hpp"
#include "penalty_path.hpp"
#include "reduced_design.hpp"
#include "scoring.hpp"
#include "validation.hpp"

namespace fastplr {
namespace {

using solver::Index;
using solver::MatrixXd;
using solver::VectorXd;

solver::ReducedDesign reduce(const TrainingRows& rows, std::span<const double> lambdas,
                             const SolverOptions& options,
                             solver::GramDigits digits = solver::GramDigits::all) {
    solver::check_rows(rows, options);
    solver::check_lambdas(lambdas);
    const double largest_weight =
        rows.weights.empty() ? 1.0 : *std::max_element(rows.weights.begin(), rows.weights.end());
    const double smallest_lambda = *std::min_element(lambdas.begin(), lambdas.end());
    const double ratio =
        smallest_lambda > 0.0 ? largest_weight / smallest_lambda : std::numeric_limits<double>::infinity();
    return {rows.features,  options.form,
            rows.n_classes, options.fit_intercept,
            ratio,          solver::resolve_n_threads(options.n_threads),
            digits};
}

LogisticFit to_fit(const solver::ReducedDesign& design, const solver::FitRows& rows,
                   const solver::Iterate& iterate, const solver::NewtonReport& report, double lambda,
                   bool fit_intercept) {
    MatrixXd coefficients = design.coefficients(rows.rows, iterate.coordinates);
    VectorXd intercepts = iterate.intercepts;
    if (coefficients.cols() > 1) {
        const VectorXd mean = coefficients.rowwise().mean();
        coefficients.colwise() -= mean;
    }
    if (fit_intercept) {
        intercepts -= coefficients.transpose() * design.feature_means();
        if (intercepts.size() > 1) intercepts.array() -= intercepts.mean();
    }
    LogisticFit fit;
    fit.coefficients.assign(coefficients.data(), coefficients.data() + coefficients.size());
    fit.intercepts.assign(intercepts.data(), intercepts.data() + intercepts.size());
    fit.lambda = lambda;
    fit.objective = report.objective;
    fit.gap = report.gap;
    fit.n_iter = report.n_iter;
    fit.converged = report.converged;
    fit.form = design.form();
    return fit;
}

std::vector<LogisticFit> fit_all_rows(const solver::ReducedDesign& design, const TrainingRows& rows,
                                      std::span<const double> lambdas, const SolverOptions& options) {
    std::vector<std::int64_t> all(static_cast<std::size_t>(rows.features.n_rows));
    std::iota(all.begin(), all.end(), std::int64_t{0});
    const solver::FitRows fit_rows = solver::rows_to_fit(rows, all);
    const solver::NewtonSettings settings{options.tol, options.max_iter, options.fit_intercept,
                                          options.polish, solver::resolve_n_threads(options.n_threads)};
    std::vector<LogisticFit> fits(lambdas.size());
    solver::follow_path(
        design, fit_rows, lambdas, settings,
        [&](std::size_t at, const solver::Iterate& iterate, const solver::NewtonReport& report) {
            fits[at] = to_fit(design, fit_rows, iterate, report, lambdas[at], options.fit_intercept);
        });
    return fits;
}

/// Writes the scores of one fold, one for each penalty; returns how many fits did not converge.
int score_fold(const solver::ReducedDesign& design, const TrainingRows& rows, std::span<const double> lambdas,
               const Fold& fold, const CrossValidationOptions& cross_validation, const SolverOptions& options,
               std::span<double> scores) {
    const solver::FitRows fit_rows = solver::rows_to_fit(rows, fold.train);
    const std::vector<Index> test(fold.test.begin(), fold.test.end());
    Eigen::VectorXi labels(static_cast<Index>(test.size()));
    VectorXd weights(labels.size());
    for (Index i = 0; i < labels.size(); ++i) {
        const auto at = static_cast<std::size_t>(test[static_cast<std::size_t>(i)]);
        labels[i] = rows.labels[at];
        weights[i] = cross_validation.score_weights.empty() ? 1.0 : cross_validation.score_weights[at];
    }
    if (fit_rows.classes.size() == 1) {
        const MatrixXd logits = solver::certain_logits(fit_rows, labels.size());
        std::fill(scores.begin(), scores.end(),
                  solver::score_rows(logits, labels, weights, cross_validation.scoring));
        return 0;
    }
    int n_unconverged = 0;
    const solver::NewtonSettings settings{options.tol, options.max_iter, options.fit_intercept, false};
    solver::follow_path(
        design, fit_rows, lambdas, settings,
        [&](std::size_t at, const solver::Iterate& iterate, const solver::NewtonReport& report) {
            const MatrixXd logits = solver::held_out_logits(design, fit_rows, iterate, test);
            scores[at] = solver::score_rows(logits, labels, weights, cross_validation.scoring);
            n_unconverged += report.converged ? 0 : 1;
        });
    return n_unconverged;
}

std::size_t select(std::span<const double> scores, std::size_t n_folds, std::span<const double> lambdas,
                   Selection selection) {
    const std::size_t n_lambdas = lambdas.size();
    const auto folds = static_cast<double>(n_folds);
    std::vector<double> mean(n_lambdas, 0.0), standard_error(n_lambdas, 0.0);
    for (std::size_t j = 0; j < n_lambdas; ++j) {
        for (std::size_t f = 0; f < n_folds; ++f) mean[j] += scores[f * n_lambdas + j] / folds;
        double squares = 0.0;
        for (std::size_t f = 0; f < n_folds; ++f) squares += std::pow(scores[f * n_lambdas + j] - mean[j], 2);
        if (n_folds > 1) standard_error[j] = std::sqrt(squares / (folds - 1.0) / folds);
    }
    // Scores that differ by rounding are ties.
    const auto best_mean = std::max_element(mean.begin(), mean.end());
    double threshold = *best_mean - 1e-12 * std::abs(*best_mean);
    if (selection == Selection::one_standard_error) {
        threshold -= standard_error[static_cast<std::size_t>(best_mean - mean.begin())];
    }
    std::size_t chosen = static_cast<std::size_t>(best_mean - mean.begin());
    for (std::size_t j = 0; j < n_lambdas; ++j) {
        if (mean[j] >= threshold && lambdas[j] > lambdas[chosen]) chosen = j;
    }
    return chosen;
}

CrossValidation cross_validate(const solver::ReducedDesign& design, const TrainingRows& rows,
                               std::span<const double> lambdas, std::span<const Fold> folds,
                               const CrossValidationOptions& cross_validation, const SolverOptions& options) {
    solver::check_folds(rows, folds, cross_validation.score_weights);
    CrossValidation result;
    result.scores.resize(folds.size() * lambdas.size());
    std::mutex mutex;
    solver::parallel_for(
        static_cast<Index>(folds.size()), solver::resolve_n_threads(options.n_threads), [&](Index f) {
            const auto at = static_cast<std::size_t>(f);
            const auto scores = std::span(result.scores).subspan(at * lambdas.size(), lambdas.size());
            const int n_unconverged =
                score_fold(design, rows, lambdas, folds[at], cross_validation, options, scores);
            const std::lock_guard lock(mutex);
            result.n_unconverged += n_unconverged;
        });
    result.selected = select(result.scores, folds.size(), lambdas, cross_validation.selection);
    return result;
}

}  // namespace

LogisticFit fit_logistic_regression(const TrainingRows& rows, double lambda, const SolverOptions& options) {
    const std::span<const double> lambdas(&lambda, 1);
    return std::move(fit_logistic_path(rows, lambdas, options).front());
}

std::vector<LogisticFit> fit_logistic_path(const TrainingRows& rows, std::span<const double> lambdas,
                                           const SolverOptions& options) {
    if (lambdas.size() == 1) {  // several pay for an exact Gram matrix
        const solver::ReducedDesign design = reduce(rows, lambdas, options, solver::GramDigits::few);
        std::vector<LogisticFit> fits = fit_all_rows(design, rows, lambdas, options);
        if (fits.front().converged || design.gram_digits() == solver::GramDigits::all) return fits;
    }
    const solver::ReducedDesign design = reduce(rows, lambdas, options);
    return fit_all_rows(design, rows, lambdas, options);
}

CrossValidation cross_validate_logistic(const TrainingRows& rows, std::span<const double> lambdas,
                                        std::span<const Fold> folds,
                                        const CrossValidationOptions& cross_validation,
                                        const SolverOptions& options) {
    const solver::ReducedDesign design = reduce(rows, lambdas, options);
    return cross_validate(design, rows, lambdas, folds, cross_validation, options);
}

LeaveOneOut approximate_leave_one_out(const TrainingRows& rows, std::span<const double> lambdas,
                                      const SolverOptions& options) {
    const solver::ReducedDesign design = reduce(rows, lambdas, options);
    if (*std::min_element(lambdas.begin(), lambdas.end()) <= 0.0) {
        throw InputError("lambda is 0: approximate leave-one-out needs a penalty");
    }
    std::vector<std::int64_t> all(static_cast<std::size_t>(rows.features.n_rows));
    std::iota(all.begin(), all.end(), std::int64_t{0});
    const solver::FitRows fitted = solver::rows_to_fit(rows, all);
    const solver::DesignRows taken = design.take(fitted.rows, solver::resolve_n_threads(options.n_threads));
    const solver::LogLoss loss = solver::loss_of(fitted);
    const Index n_outputs = loss.n_outputs();
    const Index order = solver::leave_one_out_order(taken, n_outputs);
    if (order > kMaxLeaveOneOutOrder) {
        throw InputError("approximate leave-one-out of " + std::to_string(taken.n_rows()) + " rows and " +
                         std::to_string(rows.n_classes) + " classes inverts a matrix of order " +
                         std::to_string(order) + ": expected at most " +
                         std::to_string(kMaxLeaveOneOutOrder) + "; use folds");
    }
    std::vector<Index> others;
    for (Index i = 0; i < rows.features.n_rows; ++i) {
        if (!std::binary_search(fitted.rows.begin(), fitted.rows.end(), i)) others.push_back(i);
    }
    LeaveOneOut result;
    const auto n_all = static_cast<Index>(all.size());
    result.logits.resize(lambdas.size() * static_cast<std::size_t>(n_all * n_outputs));
    const int n_threads = solver::resolve_n_threads(options.n_threads);
    const solver::NewtonSettings settings{options.tol, options.max_iter, options.fit_intercept, false,
                                          n_threads};
    std::vector<solver::Iterate> fits(lambdas.size());
    solver::follow_path(
        taken, loss, lambdas, settings,
        [&](std::size_t at, const solver::Iterate& iterate, const solver::NewtonReport& report) {
            fits[at] = iterate;
            result.n_unconverged += report.converged ? 0 : 1;
        });
    // One penalty a thread, unless their matrices would take much memory.
    solver::parallel_for(
        static_cast<Index>(lambdas.size()), order > kMaxLeaveOneOutOrder / 4 ? 1 : n_threads,
        [&](Index number) {
            using RowMajor = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
            const auto at = static_cast<std::size_t>(number);
            Eigen::Map<RowMajor> logits(result.logits.data() + number * n_all * n_outputs, n_all, n_outputs);
            logits(fitted.rows, Eigen::all) =
                solver::leave_one_out_scores(taken, loss, fits[at], lambdas[at], options.fit_intercept);
            logits(others, Eigen::all) = design.scores(others, fitted.rows, fits[at].coordinates).rowwise() +
                                         fits[at].intercepts.transpose();
        });
    return result;
}

CrossValidatedFit fit_cross_validated_logistic(const TrainingRows& rows, std::span<const double> lambdas,
                                               std::span<const Fold> folds,
                                               const CrossValidationOptions& cross_validation,
                                               const SolverOptions& options) {
    const solver::ReducedDesign design = reduce(rows, lambdas, options);
    CrossValidatedFit result;
    result.cross_validation = cross_validate(design, rows, lambdas, folds, cross_validation, options);
    const double lambda = lambdas[result.cross_validation.selected];
    result.fit = std::move(fit_all_rows(design, rows, std::span(&lambda, 1), options).front());
    return result;
}

}  // namespace fastplr
