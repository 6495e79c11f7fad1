#include "penalty_path.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <numeric>
#include <utility>

#include "conjugate_gradients.hpp"
#include "preconditioner.hpp"

namespace fastplr::solver {
namespace {

/// Outputs from which on products take most of the time, in primal form.
constexpr Index kManyOutputs = 10;
/// Single precision hides a penalty beside a second derivative that is this many times as large (the bound on
/// it is some ten times too large).
constexpr double kRoughRatio = 1e7;
/// With many outputs a weak penalty is approached through stronger ones, by this factor, each fitted to this
/// gap: far from the optimum conjugate gradients take many iterations a step. Measured with 2,500 rows, 576
/// features and 77 classes at C = 1: 0.4 of the time on hidden states, 0.8 on synthetic features.
constexpr double kApproach = 8.0;
constexpr double kApproachTol = 1e-2;

/// Where the next fit of a path may start: on the line through the last two, by lambda, by its logarithm
/// (along which coefficients move evenly where classes are separable) or by its inverse (as they do where the
/// penalty is strong).
class Prediction {
  public:
    /// Moves `iterate`, the last fit, to the best start for `lambda`, by the objective there.
    void improve(const DesignRows& design, const LogLoss& loss, double lambda, Iterate& iterate) const {
        if (fits_.size() < 2 || !(lambda > 0.0) || lambda == fits_.back().lambda) return;
        const Fit& last = fits_.back();
        const Fit& before = fits_.front();
        double least = objective(design, loss, lambda, last.iterate);
        double chosen = 0.0;
        const double by_logarithm = std::log(lambda / last.lambda) / std::log(last.lambda / before.lambda);
        const double by_inverse =
            (1.0 / lambda - 1.0 / last.lambda) / (1.0 / last.lambda - 1.0 / before.lambda);
        for (const double share : {0.5 * by_logarithm, by_logarithm, by_inverse}) {
            const double value = objective(design, loss, lambda, ahead(share));
            if (value < least) {
                least = value;
                chosen = share;
            }
        }
        if (chosen == 0.0) return;
        iterate = ahead(chosen);
        // Exactly, which sums of scores are not.
        iterate.scores = row_scores(design, iterate.coordinates);
    }

    void add(double lambda, const Iterate& iterate) {
        if (fits_.size() == 2) fits_.erase(fits_.begin());
        if (lambda > 0.0) fits_.push_back({lambda, iterate});
    }

  private:
    struct Fit {
        double lambda;
        Iterate iterate;
    };

    /// `share` times the step from the fit before last to the last one, beyond the last one.
    Iterate ahead(double share) const {
        const Iterate& last = fits_.back().iterate;
        const Iterate& before = fits_.front().iterate;
        return {last.coordinates + share * (last.coordinates - before.coordinates),
                last.scores + share * (last.scores - before.scores),
                last.intercepts + share * (last.intercepts - before.intercepts)};
    }

    std::vector<Fit> fits_;
};

/// The mean over features and outputs of the loss's second derivative at an iterate.
double mean_curvature(const DesignRows& design, const LogLoss& loss, const Iterate& iterate) {
    LossState state;
    loss.evaluate(iterate.scores.rowwise() + iterate.intercepts.transpose(), state);
    const double sum = design.matrix().rowwise().squaredNorm().dot(state.curvature.rowwise().sum());
    return sum / static_cast<double>(design.n_coordinates() * loss.n_outputs());
}

}  // namespace

FitRows rows_to_fit(const TrainingRows& rows, std::span<const std::int64_t> among) {
    FitRows chosen;
    chosen.n_all_classes = rows.n_classes;
    std::vector<int> position(static_cast<std::size_t>(rows.n_classes), -1);
    for (const std::int64_t row : among) {
        const auto at = static_cast<std::size_t>(row);
        if (!rows.weights.empty() && rows.weights[at] == 0.0) continue;
        chosen.rows.push_back(row);
        position[static_cast<std::size_t>(rows.labels[at])] = 0;
    }
    for (int k = 0; k < rows.n_classes; ++k) {
        if (position[static_cast<std::size_t>(k)] < 0) continue;
        position[static_cast<std::size_t>(k)] = static_cast<int>(chosen.classes.size());
        chosen.classes.push_back(k);
    }
    const auto n = static_cast<Index>(chosen.rows.size());
    chosen.labels.resize(n);
    chosen.weights.resize(n);
    for (Index i = 0; i < n; ++i) {
        const auto at = static_cast<std::size_t>(chosen.rows[static_cast<std::size_t>(i)]);
        chosen.labels[i] = position[static_cast<std::size_t>(rows.labels[at])];
        chosen.weights[i] = rows.weights.empty() ? 1.0 : rows.weights[at];
    }
    return chosen;
}

LogLoss loss_of(const FitRows& rows) {
    return {rows.labels, rows.weights, static_cast<Index>(rows.classes.size()), rows.n_outputs()};
}

void follow_path(const ReducedDesign& design, const FitRows& rows, std::span<const double> lambdas,
                 const NewtonSettings& settings, const PathReport& report) {
    follow_path(design.take(rows.rows, settings.n_threads), loss_of(rows), lambdas, settings, report);
}

void follow_path(const DesignRows& design, const LogLoss& loss, std::span<const double> lambdas,
                 const NewtonSettings& settings, const PathReport& report) {
    DesignRows rough = design;
    double largest = 0.0;  // bound on the loss's second derivative
    if (design.coordinates == Coordinates::primal && loss.n_outputs() >= kManyOutputs) {
        largest = 0.25 * design.matrix().rowwise().squaredNorm().dot(loss.weights());
        rough.rough = std::make_shared<const Eigen::MatrixXf>(design.matrix().cast<float>());
    }
    std::vector<std::size_t> order(lambdas.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(),
                     [&](std::size_t a, std::size_t b) { return lambdas[a] > lambdas[b]; });
    Iterate iterate = null_iterate(design, loss, settings.fit_intercept);
    Preconditioner preconditioner(design, settings.fit_intercept, settings.n_threads);
    Prediction prediction;
    const auto fit = [&](double lambda, const NewtonSettings& wanted) {
        prediction.improve(design, loss, lambda, iterate);
        const DesignRows& used = largest <= kRoughRatio * lambda ? rough : design;
        const NewtonReport newton = minimise(used, loss, lambda, wanted, preconditioner, iterate);
        prediction.add(lambda, iterate);
        return newton;
    };
    NewtonSettings exact = settings;
    int n_approach = 0;
    const double first = lambdas[order.front()];
    if (largest > 0.0 && first > 0.0) {
        exact.polish = false;  // that step alone takes a third of the time here
        NewtonSettings loose = exact;
        loose.tol = std::max(settings.tol, kApproachTol);
        for (double lambda = kApproach * mean_curvature(design, loss, iterate); lambda > kApproach * first;
             lambda /= kApproach) {
            n_approach += fit(lambda, loose).n_iter;
        }
    }
    for (const std::size_t at : order) {
        NewtonReport newton = fit(lambdas[at], exact);
        newton.n_iter += std::exchange(n_approach, 0);
        report(at, iterate, newton);
    }
}

MatrixXd held_out_logits(const ReducedDesign& design, const FitRows& fitted, const Iterate& iterate,
                         std::span<const Index> test) {
    MatrixXd scores = design.scores(test, fitted.rows, iterate.coordinates);
    scores.rowwise() += iterate.intercepts.transpose();
    MatrixXd logits =
        MatrixXd::Constant(scores.rows(), fitted.n_all_classes, -std::numeric_limits<double>::infinity());
    if (fitted.n_all_classes == 2) {
        logits.col(0).setZero();
        logits.col(1) = scores.col(0);
        return logits;
    }
    for (std::size_t k = 0; k < fitted.classes.size(); ++k) {
        logits.col(fitted.classes[k]) = scores.col(static_cast<Index>(k));
    }
    return logits;
}

MatrixXd certain_logits(const FitRows& fitted, Index n_test) {
    MatrixXd logits =
        MatrixXd::Constant(n_test, fitted.n_all_classes, -std::numeric_limits<double>::infinity());
    logits.col(fitted.classes.front()).setZero();
    return logits;
}

}  // namespace fastplr::solver
