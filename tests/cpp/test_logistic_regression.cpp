// The solver against optima known in closed form, the derivatives of its objective, and itself in its other
// form.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <random>
#include <vector>

#include "check.hpp"
#include "fastplr/errors.hpp"
#include "fastplr/logistic_regression.hpp"

namespace {

using fastplr::FeatureView;
using fastplr::LogisticFit;
using fastplr::SolverForm;
using fastplr::SolverOptions;
using fastplr::TrainingRows;

struct Sample {
    std::vector<double> features;
    std::vector<std::int32_t> labels;
    std::vector<double> weights;
    std::ptrdiff_t n_rows, n_features;
    int n_classes;

    TrainingRows rows() const {
        return {FeatureView::row_major(features.data(), n_rows, n_features), labels, n_classes, weights};
    }
};

Sample random_sample(std::ptrdiff_t n_rows, std::ptrdiff_t n_features, int n_classes, unsigned seed = 0) {
    std::mt19937 generator(seed);
    std::normal_distribution<double> normal;
    std::uniform_real_distribution<double> uniform(0.2, 3.0);
    Sample sample{{}, {}, {}, n_rows, n_features, n_classes};
    for (std::ptrdiff_t i = 0; i < n_rows; ++i) {
        const auto label = static_cast<std::int32_t>(i % n_classes);
        for (std::ptrdiff_t j = 0; j < n_features; ++j) {
            sample.features.push_back(normal(generator) + (j == label ? 1.0 : 0.0) + 3.0);
        }
        sample.labels.push_back(label);
        sample.weights.push_back(uniform(generator));
    }
    return sample;
}

/// The objective from its definition, in plain loops.
double objective(const Sample& sample, const std::vector<double>& coefficients,
                 const std::vector<double>& intercepts, double lambda) {
    double sum = 0.0;
    const std::size_t n_outputs = intercepts.size();
    const auto n_features = static_cast<std::size_t>(sample.n_features);
    for (std::size_t i = 0; i < sample.labels.size(); ++i) {
        std::vector<double> logits(n_outputs == 1 ? 2 : n_outputs, 0.0);
        for (std::size_t k = 0; k < n_outputs; ++k) {
            double logit = intercepts[k];
            for (std::size_t j = 0; j < n_features; ++j) {
                logit += coefficients[k * n_features + j] * sample.features[i * n_features + j];
            }
            logits[n_outputs == 1 ? 1 : k] = logit;
        }
        const double top = *std::max_element(logits.begin(), logits.end());
        double total = 0.0;
        for (const double logit : logits) total += std::exp(logit - top);
        sum +=
            sample.weights[i] * (top + std::log(total) - logits[static_cast<std::size_t>(sample.labels[i])]);
    }
    for (const double value : coefficients) sum += 0.5 * lambda * value * value;
    return sum;
}

/// Largest derivative of the objective by central differences.
double largest_derivative(const Sample& sample, const LogisticFit& fit) {
    const double step = 1e-5;
    double largest = 0.0;
    for (std::size_t j = 0; j < fit.coefficients.size() + fit.intercepts.size(); ++j) {
        auto up = fit, down = fit;
        const bool feature = j < fit.coefficients.size();
        (feature ? up.coefficients[j] : up.intercepts[j - fit.coefficients.size()]) += step;
        (feature ? down.coefficients[j] : down.intercepts[j - fit.coefficients.size()]) -= step;
        const double difference = objective(sample, up.coefficients, up.intercepts, fit.lambda) -
                                  objective(sample, down.coefficients, down.intercepts, fit.lambda);
        largest = std::max(largest, std::abs(difference / (2.0 * step)));
    }
    return largest;
}

double largest_difference(const std::vector<double>& a, const std::vector<double>& b) {
    double largest = a.size() == b.size() ? 0.0 : std::numeric_limits<double>::infinity();
    for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i)
        largest = std::max(largest, std::abs(a[i] - b[i]));
    return largest;
}

bool all_finite(const LogisticFit& fit) {
    const auto finite = [](double value) { return std::isfinite(value); };
    return std::all_of(fit.coefficients.begin(), fit.coefficients.end(), finite) &&
           std::all_of(fit.intercepts.begin(), fit.intercepts.end(), finite) && std::isfinite(fit.objective);
}

}  // namespace

TEST_CASE("the objective and its derivatives are right at the solution") {
    for (const int n_classes : {2, 3, 5}) {
        for (const auto& [n_rows, n_features] : {std::pair{15, 40}, std::pair{60, 6}}) {
            const Sample sample = random_sample(n_rows, n_features, n_classes);
            const LogisticFit fit = fastplr::fit_logistic_regression(sample.rows(), 0.7);
            CHECK(fit.converged);
            CHECK(fit.gap <= 1e-8);
            CHECK(fit.form == (n_rows < n_features ? SolverForm::gram : SolverForm::primal));
            CHECK_NEAR(fit.objective, objective(sample, fit.coefficients, fit.intercepts, 0.7), 1e-10);
            CHECK_NEAR(largest_derivative(sample, fit), 0.0, 1e-7);
        }
    }
}

TEST_CASE("gram and primal Newton agree") {
    for (const int n_classes : {2, 4}) {
        for (const bool fit_intercept : {true, false}) {
            const Sample sample = random_sample(30, 30, n_classes);
            SolverOptions options;
            options.fit_intercept = fit_intercept;
            options.form = SolverForm::gram;
            const LogisticFit gram = fastplr::fit_logistic_regression(sample.rows(), 0.1, options);
            options.form = SolverForm::primal;
            const LogisticFit primal = fastplr::fit_logistic_regression(sample.rows(), 0.1, options);
            CHECK_NEAR(largest_difference(gram.coefficients, primal.coefficients), 0.0, 1e-8);
            // Features have means of 3: intercepts carry the errors of all coefficients.
            CHECK_NEAR(largest_difference(gram.intercepts, primal.intercepts), 0.0, 1e-6);
        }
    }
}

TEST_CASE("the gap bounds the distance to the optimum at every iteration") {
    for (const int n_classes : {2, 3}) {
        const Sample sample = random_sample(20, 50, n_classes);
        const double optimum = fastplr::fit_logistic_regression(sample.rows(), 0.01).objective;
        SolverOptions options;
        options.tol = 1e-12;
        options.polish = false;
        for (options.max_iter = 1; options.max_iter < 12; ++options.max_iter) {
            const LogisticFit fit = fastplr::fit_logistic_regression(sample.rows(), 0.01, options);
            CHECK(fit.objective - optimum <= fit.gap * fit.objective + 1e-12 * optimum);
            CHECK(fit.converged == (fit.gap <= options.tol));
        }
    }
}

TEST_CASE("two rows have the optimum of a scalar equation") {
    // x = -1 and 1: by symmetry the intercept is 0 and lambda b = 2 / (1 + exp(b)).
    const std::vector<double> features{-1.0, 1.0};
    const std::vector<std::int32_t> labels{0, 1};
    for (const double lambda : {1e-8, 1e-3, 1.0, 1e8}) {
        const LogisticFit fit = fastplr::fit_logistic_regression(
            {FeatureView::row_major(features.data(), 2, 1), labels, 2}, lambda);
        const double b = fit.coefficients[0];
        CHECK(fit.converged);
        CHECK_NEAR(lambda * b * (1.0 + std::exp(b)) / 2.0, 1.0, 1e-6);
        CHECK_NEAR(fit.intercepts[0], 0.0, 1e-6);
    }
}

TEST_CASE("a huge penalty leaves the class shares") {
    const Sample sample = random_sample(40, 10, 2);
    const LogisticFit fit = fastplr::fit_logistic_regression(sample.rows(), 1e12);
    double shares[2] = {0.0, 0.0};
    for (std::size_t i = 0; i < sample.labels.size(); ++i) shares[sample.labels[i]] += sample.weights[i];
    CHECK_NEAR(fit.intercepts[0], std::log(shares[1] / shares[0]), 1e-6);
}

TEST_CASE("strides and float32 change nothing") {
    const Sample sample = random_sample(12, 33, 3);
    const LogisticFit expected = fastplr::fit_logistic_regression(sample.rows(), 1.0);
    // Column-major, rows reversed, with a gap after each column.
    std::vector<double> columns(33 * 20, std::nan(""));
    std::vector<float> narrow;
    for (std::ptrdiff_t i = 0; i < 12; ++i) {
        for (std::ptrdiff_t j = 0; j < 33; ++j) {
            columns[static_cast<std::size_t>(j * 20 + 11 - i)] =
                sample.features[static_cast<std::size_t>(i * 33 + j)];
        }
    }
    for (const double value : sample.features) narrow.push_back(static_cast<float>(value));
    TrainingRows rows = sample.rows();
    rows.features = {columns.data() + 11, fastplr::FeatureType::float64, 12, 33, -1, 20};
    CHECK_NEAR(
        largest_difference(fastplr::fit_logistic_regression(rows, 1.0).coefficients, expected.coefficients),
        0.0, 1e-12);
    rows.features = FeatureView::row_major(narrow.data(), 12, 33);
    CHECK_NEAR(
        largest_difference(fastplr::fit_logistic_regression(rows, 1.0).coefficients, expected.coefficients),
        0.0, 1e-5);
}

TEST_CASE("a path equals separate fits in the order given") {
    const Sample sample = random_sample(24, 60, 3);
    const std::vector<double> lambdas{1.0, 1e-3, 100.0, 0.1};
    const std::vector<LogisticFit> path = fastplr::fit_logistic_path(sample.rows(), lambdas);
    for (std::size_t i = 0; i < lambdas.size(); ++i) {
        const LogisticFit fit = fastplr::fit_logistic_regression(sample.rows(), lambdas[i]);
        CHECK(path[i].lambda == lambdas[i]);
        CHECK_NEAR(largest_difference(path[i].coefficients, fit.coefficients), 0.0, 1e-7);
    }
}

TEST_CASE("cross-validation equals fits on copies of the rows, on any number of threads") {
    for (const std::ptrdiff_t n_features : {8, 50}) {
        const Sample sample = random_sample(24, n_features, 2);
        const std::vector<double> lambdas{0.1, 10.0};
        std::vector<fastplr::Fold> folds(3);
        for (std::int64_t i = 0; i < 24; ++i) {
            for (std::size_t f = 0; f < 3; ++f) {
                // Blocks of 8 rows hold both classes.
                (static_cast<std::size_t>(i / 8) == f ? folds[f].test : folds[f].train).push_back(i);
            }
        }
        SolverOptions options;
        options.tol = 1e-12;
        const auto result = fastplr::cross_validate_logistic(sample.rows(), lambdas, folds, {}, options);
        options.n_threads = 3;
        CHECK(result.scores ==
              fastplr::cross_validate_logistic(sample.rows(), lambdas, folds, {}, options).scores);
        for (std::size_t f = 0; f < 3; ++f) {
            Sample train{{}, {}, {}, 16, n_features, 2};
            Sample test{{}, {}, {}, 8, n_features, 2};
            for (const bool part : {false, true}) {
                Sample& copy = part ? test : train;
                for (const std::int64_t i : part ? folds[f].test : folds[f].train) {
                    const auto begin = sample.features.begin() + i * n_features;
                    copy.features.insert(copy.features.end(), begin, begin + n_features);
                    copy.labels.push_back(sample.labels[static_cast<std::size_t>(i)]);
                    copy.weights.push_back(part ? 1.0 : sample.weights[static_cast<std::size_t>(i)]);
                }
            }
            for (std::size_t l = 0; l < 2; ++l) {
                const LogisticFit fit = fastplr::fit_logistic_regression(train.rows(), lambdas[l]);
                const double log_loss = objective(test, fit.coefficients, fit.intercepts, 0.0) / 8.0;
                CHECK_NEAR(result.scores[f * 2 + l], -log_loss, 1e-6);
            }
        }
    }
}

TEST_CASE("degenerate data end finite and certified") {
    const Sample wide = random_sample(12, 40, 3);
    Sample constant = wide;
    std::fill(constant.features.begin(), constant.features.end(), 2.5);
    Sample twice = wide;
    for (std::size_t i = 0; i < 6 * 40; ++i) twice.features[6 * 40 + i] = twice.features[i];
    Sample lonely = wide;
    for (std::size_t i = 0; i < 12; ++i) lonely.labels[i] = i == 0 ? 1 : (i == 1 ? 2 : 0);
    Sample partly = wide;
    for (std::size_t i = 6; i < 12; ++i) partly.weights[i] = 0.0;
    for (const Sample& sample : {wide, constant, twice, lonely, partly}) {
        for (const double lambda : {1e-8, 1e-3, 1.0, 1e8}) {
            const LogisticFit fit = fastplr::fit_logistic_regression(sample.rows(), lambda);
            CHECK(all_finite(fit));
            CHECK(fit.converged);
        }
    }
}

TEST_CASE("without a penalty the solver converges where an optimum exists and says so where none does") {
    std::vector<double> x{-2.0, -1.0, 0.5, -0.5, 1.0, 2.0};
    const std::vector<std::int32_t> labels{0, 0, 0, 1, 1, 1};
    const auto fit = [&] {
        return fastplr::fit_logistic_regression({FeatureView::row_major(x.data(), 6, 1), labels, 2}, 0.0);
    };
    const LogisticFit overlapping = fit();
    CHECK(overlapping.converged);
    const Sample sample{x, labels, std::vector<double>(6, 1.0), 6, 1, 2};
    CHECK_NEAR(largest_derivative(sample, overlapping), 0.0, 1e-7);

    x = {-2.0, -1.0, -0.5, 0.5, 1.0, 2.0};
    CHECK(!fit().converged);  // separated
    CHECK(std::isinf(fit().gap));
    x = {-2.0, -1.0, 0.0, 0.0, 1.0, 2.0};
    CHECK(!fit().converged);  // separated but for a tie (quasi-complete)
    CHECK(all_finite(fit()));
}

TEST_CASE("bad input is refused by name") {
    Sample sample = random_sample(6, 4, 2);
    const auto fit = [&](double lambda = 1.0, SolverOptions options = {}) {
        return fastplr::fit_logistic_regression(sample.rows(), lambda, options);
    };
    CHECK_THROWS(fit(-1.0), fastplr::InputError, "lambda is -1");
    CHECK_THROWS(fit(std::nan("")), fastplr::InputError, "lambda is nan");
    CHECK_THROWS(fit(1.0, {.tol = 0.0}), fastplr::InputError, "tol is 0");
    CHECK_THROWS(fit(1.0, {.max_iter = 0}), fastplr::InputError, "max_iter is 0");
    sample.features[4 + 2] = std::numeric_limits<double>::infinity();
    CHECK_THROWS(fit(), fastplr::InputError, "feature 2 of row 1 is infinity");
    sample = random_sample(6, 4, 2);
    sample.weights[3] = -2.0;
    CHECK_THROWS(fit(), fastplr::InputError, "weight of row 3 is -2");
    sample.weights.assign(6, 0.0);
    CHECK_THROWS(fit(), fastplr::InputError, "all weights are 0");
    sample.weights.assign(5, 1.0);
    CHECK_THROWS(fit(), fastplr::InputError, "5 weights for 6 rows");
    sample.weights.clear();
    sample.labels[2] = 7;
    CHECK_THROWS(fit(), fastplr::InputError, "label of row 2 is 7");
    sample.labels.assign(6, 0);
    CHECK_THROWS(fit(), fastplr::InputError, "class 1 has no row");

    sample = random_sample(6, 4, 2);
    const std::vector<double> lambdas{1.0};
    const auto validate = [&](fastplr::Fold fold) {
        const std::vector<fastplr::Fold> folds{std::move(fold)};
        return fastplr::cross_validate_logistic(sample.rows(), lambdas, folds, {});
    };
    CHECK_THROWS(validate({{0, 1}, {9}}), fastplr::InputError, "scores row 9");
    CHECK_THROWS(validate({{0, 1}, {1}}), fastplr::InputError, "both trains on and scores row 1");
    CHECK_THROWS(validate({{}, {1}}), fastplr::InputError, "to train on");
    CHECK_THROWS(validate({{0, 1}, {}}), fastplr::InputError, "to score");
}
