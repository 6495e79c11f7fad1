// Binds the array-level solver: feature matrices come as float32 or float64 NumPy arrays with any strides and
// are not copied; the GIL is released while the solver runs.
#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "bindings.hpp"
#include "fastplr/errors.hpp"
#include "fastplr/logistic_regression.hpp"

namespace py = pybind11;

namespace {

using fastplr::InputError;

/// Converts only where the array is not contiguous or of another type; the result keeps the memory alive.
using Doubles = py::array_t<double, py::array::c_style | py::array::forcecast>;
using Labels = py::array_t<std::int32_t, py::array::c_style | py::array::forcecast>;
using RowNumbers = py::array_t<std::int64_t, py::array::c_style | py::array::forcecast>;

template <typename Array>
auto to_span(const Array& array, const char* name) {
    if (array.ndim() != 1) {
        throw InputError(std::string(name) + " has " + std::to_string(array.ndim()) +
                         " dimensions: expected 1");
    }
    return std::span(array.data(), static_cast<std::size_t>(array.size()));
}

fastplr::FeatureView to_view(const py::array& features) {
    if (features.ndim() != 2) {
        throw InputError("features have " + std::to_string(features.ndim()) + " dimensions: expected 2");
    }
    fastplr::FeatureView view;
    const bool wide = py::isinstance<py::array_t<double>>(features);
    if (!wide && !py::isinstance<py::array_t<float>>(features)) {
        throw InputError("features of type " + std::string(py::str(features.dtype())) +
                         ": expected float32 or float64");
    }
    const py::ssize_t size = features.itemsize();
    if (features.strides(0) % size != 0 || features.strides(1) % size != 0 ||
        reinterpret_cast<std::uintptr_t>(features.data()) % static_cast<std::uintptr_t>(size) != 0) {
        throw InputError("features are not aligned to their element size: pass a copy");
    }
    view.data = features.data();
    view.type = wide ? fastplr::FeatureType::float64 : fastplr::FeatureType::float32;
    view.n_rows = features.shape(0);
    view.n_features = features.shape(1);
    view.row_stride = features.strides(0) / size;
    view.feature_stride = features.strides(1) / size;
    return view;
}

fastplr::TrainingRows to_rows(const py::array& features, const Labels& labels, int n_classes,
                              const Doubles& weights) {
    return {to_view(features), to_span(labels, "labels"), n_classes, to_span(weights, "weights")};
}

fastplr::SolverOptions to_options(double tol, int max_iter, bool fit_intercept, const std::string& solver,
                                  int n_threads, bool polish) {
    fastplr::SolverOptions options{tol,       max_iter, fit_intercept, fastplr::SolverForm::automatic,
                                   n_threads, polish};
    if (solver == "gram") {
        options.form = fastplr::SolverForm::gram;
    } else if (solver == "primal") {
        options.form = fastplr::SolverForm::primal;
    } else if (solver != "auto") {
        throw InputError("solver is '" + solver + "': expected 'auto', 'gram' or 'primal'");
    }
    return options;
}

fastplr::Scoring to_scoring(const std::string& name) {
    if (name == "neg_log_loss") return fastplr::Scoring::neg_log_loss;
    if (name == "accuracy") return fastplr::Scoring::accuracy;
    if (name == "balanced_accuracy") return fastplr::Scoring::balanced_accuracy;
    if (name == "f1_macro") return fastplr::Scoring::f1_macro;
    throw InputError("scoring is '" + name +
                     "': expected neg_log_loss, accuracy, balanced_accuracy or f1_macro");
}

fastplr::Selection to_selection(const std::string& name) {
    if (name == "best") return fastplr::Selection::best;
    if (name == "1se") return fastplr::Selection::one_standard_error;
    throw InputError("selection is '" + name + "': expected 'best' or '1se'");
}

py::array_t<double> coefficients(const fastplr::LogisticFit& fit) {
    const auto n_outputs = static_cast<py::ssize_t>(fit.intercepts.size());
    const auto n_features = static_cast<py::ssize_t>(fit.coefficients.size()) / n_outputs;
    return py::array_t<double>({n_outputs, n_features}, fit.coefficients.data());
}

py::array_t<double> intercepts(const fastplr::LogisticFit& fit) {
    return py::array_t<double>(static_cast<py::ssize_t>(fit.intercepts.size()), fit.intercepts.data());
}

}  // namespace

void register_logistic_regression(py::module_& m) {
    py::class_<fastplr::LogisticFit>(m, "LogisticFit", "The result of one penalised fit.")
        .def_property_readonly("coefficients", &coefficients, "float64 (n_outputs, n_features)")
        .def_property_readonly("intercepts", &intercepts, "float64 (n_outputs,)")
        .def_readonly("lambda_", &fastplr::LogisticFit::lambda)
        .def_readonly("objective", &fastplr::LogisticFit::objective)
        .def_readonly("gap", &fastplr::LogisticFit::gap)
        .def_readonly("n_iter", &fastplr::LogisticFit::n_iter)
        .def_readonly("converged", &fastplr::LogisticFit::converged)
        .def_property_readonly("form", [](const fastplr::LogisticFit& fit) {
            return fit.form == fastplr::SolverForm::gram ? "gram" : "primal";
        });

    m.def(
        "fit_logistic_path",
        [](const py::array& features, const Labels& labels, int n_classes, const Doubles& weights,
           const Doubles& lambdas, double tol, int max_iter, bool fit_intercept, const std::string& solver,
           int n_threads, bool polish) {
            const auto rows = to_rows(features, labels, n_classes, weights);
            const auto penalties = to_span(lambdas, "lambdas");
            const auto options = to_options(tol, max_iter, fit_intercept, solver, n_threads, polish);
            const py::gil_scoped_release release;
            return fastplr::fit_logistic_path(rows, penalties, options);
        },
        py::arg("features"), py::arg("labels"), py::arg("n_classes"), py::kw_only(), py::arg("weights"),
        py::arg("lambdas"), py::arg("tol"), py::arg("max_iter"), py::arg("fit_intercept"), py::arg("solver"),
        py::arg("n_threads"), py::arg("polish"),
        "Fits every penalty of `lambdas`, with warm starts, in the order given. `weights` may be empty (all "
        "1).");

    m.def(
        "approximate_leave_one_out",
        [](const py::array& features, const Labels& labels, int n_classes, const Doubles& weights,
           const Doubles& lambdas, double tol, int max_iter, bool fit_intercept, const std::string& solver,
           int n_threads) {
            const auto rows = to_rows(features, labels, n_classes, weights);
            const auto penalties = to_span(lambdas, "lambdas");
            const auto options = to_options(tol, max_iter, fit_intercept, solver, n_threads, false);
            fastplr::LeaveOneOut result;
            {
                const py::gil_scoped_release release;
                result = fastplr::approximate_leave_one_out(rows, penalties, options);
            }
            const auto n_lambdas = static_cast<py::ssize_t>(penalties.size());
            const auto n_rows = static_cast<py::ssize_t>(rows.features.n_rows);
            const auto n_outputs = static_cast<py::ssize_t>(n_classes == 2 ? 1 : n_classes);
            return py::make_tuple(py::array_t<double>({n_lambdas, n_rows, n_outputs}, result.logits.data()),
                                  result.n_unconverged);
        },
        py::arg("features"), py::arg("labels"), py::arg("n_classes"), py::kw_only(), py::arg("weights"),
        py::arg("lambdas"), py::arg("tol"), py::arg("max_iter"), py::arg("fit_intercept"), py::arg("solver"),
        py::arg("n_threads"),
        "Approximate leave-one-out logits of every row at each of `lambdas`, (n_lambdas, n_rows, n_outputs), "
        "and the number of fits that did not converge.");

    m.def(
        "fit_cross_validated_logistic",
        [](const py::array& features, const Labels& labels, int n_classes, const Doubles& weights,
           const Doubles& lambdas, const std::vector<std::pair<RowNumbers, RowNumbers>>& folds,
           const Doubles& score_weights, const std::string& scoring, const std::string& selection, double tol,
           int max_iter, bool fit_intercept, const std::string& solver, int n_threads, bool polish) {
            const auto rows = to_rows(features, labels, n_classes, weights);
            const auto penalties = to_span(lambdas, "lambdas");
            const auto options = to_options(tol, max_iter, fit_intercept, solver, n_threads, polish);
            const fastplr::CrossValidationOptions cross_validation{
                to_scoring(scoring), to_selection(selection), to_span(score_weights, "score_weights")};
            std::vector<fastplr::Fold> native;
            native.reserve(folds.size());
            for (const auto& [train, test] : folds) {
                const auto from = to_span(train, "the training rows of a fold");
                const auto to = to_span(test, "the scored rows of a fold");
                native.push_back({{from.begin(), from.end()}, {to.begin(), to.end()}});
            }
            fastplr::CrossValidatedFit result;
            {
                const py::gil_scoped_release release;
                result =
                    fastplr::fit_cross_validated_logistic(rows, penalties, native, cross_validation, options);
            }
            const py::array_t<double> scores(
                {static_cast<py::ssize_t>(native.size()), static_cast<py::ssize_t>(penalties.size())},
                result.cross_validation.scores.data());
            return py::make_tuple(std::move(result.fit), scores, result.cross_validation.selected,
                                  result.cross_validation.n_unconverged);
        },
        py::arg("features"), py::arg("labels"), py::arg("n_classes"), py::kw_only(), py::arg("weights"),
        py::arg("lambdas"), py::arg("folds"), py::arg("score_weights"), py::arg("scoring"),
        py::arg("selection"), py::arg("tol"), py::arg("max_iter"), py::arg("fit_intercept"),
        py::arg("solver"), py::arg("n_threads"), py::arg("polish"),
        "Cross-validates `lambdas` on `folds` (pairs of training and scored row numbers) and fits all rows "
        "with the one\n"
        "selected. Returns (fit, scores (n_folds, n_lambdas), position selected, number of fits that did not "
        "converge).");
}
