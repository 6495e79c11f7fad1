#include "validation.hpp"

#include <cmath>
#include <sstream>
#include <string>

#include "fastplr/errors.hpp"

namespace fastplr::solver {
namespace {

template <typename Value>
std::string text(const Value& value) {
    std::ostringstream out;
    out << value;
    return out.str();
}

void check_weights(std::span<const double> weights, std::ptrdiff_t n_rows, const std::string& name) {
    if (weights.empty()) return;
    if (static_cast<std::ptrdiff_t>(weights.size()) != n_rows) {
        throw InputError(name + ": " + text(weights.size()) + " weights for " + text(n_rows) +
                         " rows: expected one for each row");
    }
    double sum = 0.0;
    for (std::size_t i = 0; i < weights.size(); ++i) {
        if (!std::isfinite(weights[i]) || weights[i] < 0.0) {
            throw InputError(name + ": the weight of row " + text(i) + " is " + text(weights[i]) +
                             ": expected a finite number >= 0");
        }
        sum += weights[i];
    }
    if (!(sum > 0.0)) throw InputError(name + ": all weights are 0: expected a positive sum");
    if (!std::isfinite(sum)) throw InputError(name + ": the sum of the weights overflows");
}

}  // namespace

void check_rows(const TrainingRows& rows, const SolverOptions& options) {
    const FeatureView& features = rows.features;
    if (features.data == nullptr || features.n_rows < 1 || features.n_features < 1) {
        throw InputError("features of shape (" + text(features.n_rows) + ", " + text(features.n_features) +
                         "): expected at least one row and one feature");
    }
    if (static_cast<std::ptrdiff_t>(rows.labels.size()) != features.n_rows) {
        throw InputError(text(rows.labels.size()) + " labels for " + text(features.n_rows) +
                         " rows: expected one for each row");
    }
    if (rows.n_classes < 2) {
        throw InputError("n_classes is " + text(rows.n_classes) + ": expected at least two classes");
    }
    check_weights(rows.weights, features.n_rows, "weights");
    std::vector<bool> present(static_cast<std::size_t>(rows.n_classes), false);
    for (std::size_t i = 0; i < rows.labels.size(); ++i) {
        const std::int32_t label = rows.labels[i];
        if (label < 0 || label >= rows.n_classes) {
            throw InputError("the label of row " + text(i) + " is " + text(label) + ": expected 0 to " +
                             text(rows.n_classes - 1));
        }
        if (rows.weights.empty() || rows.weights[i] > 0.0) present[static_cast<std::size_t>(label)] = true;
    }
    for (std::size_t k = 0; k < present.size(); ++k) {
        if (!present[k])
            throw InputError("class " + text(k) + " has no row of positive weight: every class needs one");
    }
    if (!(options.tol > 0.0) || !std::isfinite(options.tol)) {
        throw InputError("tol is " + text(options.tol) + ": expected a finite number > 0");
    }
    if (options.max_iter < 1)
        throw InputError("max_iter is " + text(options.max_iter) + ": expected at least 1");
    if (options.n_threads < 0) {
        throw InputError("n_threads is " + text(options.n_threads) + ": expected 0 (all) or more");
    }
}

void check_lambdas(std::span<const double> lambdas) {
    if (lambdas.empty()) throw InputError("no penalties given: expected at least one lambda");
    for (const double lambda : lambdas) {
        if (!std::isfinite(lambda) || lambda < 0.0) {
            throw InputError("lambda is " + text(lambda) + ": expected a finite number >= 0");
        }
    }
}

void check_folds(const TrainingRows& rows, std::span<const Fold> folds,
                 std::span<const double> score_weights) {
    if (folds.empty()) throw InputError("no folds given: expected at least one");
    const std::ptrdiff_t n_rows = rows.features.n_rows;
    check_weights(score_weights, n_rows, "score_weights");
    for (std::size_t f = 0; f < folds.size(); ++f) {
        std::vector<bool> trained(static_cast<std::size_t>(n_rows), false);
        bool any_trained = false, any_scored = false;
        for (const std::int64_t row : folds[f].train) {
            if (row < 0 || row >= n_rows) {
                throw InputError("fold " + text(f) + " trains on row " + text(row) + ": expected 0 to " +
                                 text(n_rows - 1));
            }
            trained[static_cast<std::size_t>(row)] = true;
            any_trained =
                any_trained || rows.weights.empty() || rows.weights[static_cast<std::size_t>(row)] > 0.0;
        }
        for (const std::int64_t row : folds[f].test) {
            if (row < 0 || row >= n_rows) {
                throw InputError("fold " + text(f) + " scores row " + text(row) + ": expected 0 to " +
                                 text(n_rows - 1));
            }
            if (trained[static_cast<std::size_t>(row)]) {
                throw InputError("fold " + text(f) + " both trains on and scores row " + text(row));
            }
            any_scored =
                any_scored || score_weights.empty() || score_weights[static_cast<std::size_t>(row)] > 0.0;
        }
        if (!any_trained) throw InputError("fold " + text(f) + " has no row of positive weight to train on");
        if (!any_scored) throw InputError("fold " + text(f) + " has no row of positive weight to score");
    }
}

}  // namespace fastplr::solver
