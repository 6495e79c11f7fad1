#include "newton.hpp"

#include <Eigen/QR>
#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "conjugate_gradients.hpp"
#include "preconditioner.hpp"

namespace fastplr::solver {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
/// Factors for each class cost n_outputs n^2 doubles; above this all classes share one.
constexpr double kFactorBytes = 256.0 * 1024 * 1024;
constexpr int kMaxConjugateGradients = 1000;
/// Conjugate gradients that cost as much as a factorisation, by its order (measured at orders 60 to 1,000).
constexpr double kFactorsWorth = 1.0 / 40.0;
/// Relative duality gap from which on scores are taken of the features where the Gram matrix is rough. Its
/// error of 1e-6 in the scores counts by its square.
constexpr double kRoughGap = 1e-6;
/// Relative duality gap that the polishing step is after.
constexpr double kPolished = 1e-18;
/// A probability this close to 0 or 1 counts as one that an unpenalised fit drove there.
constexpr double kSaturated = 1e-10;

MatrixXd total_scores(const Iterate& iterate) {
    return iterate.scores.rowwise() + iterate.intercepts.transpose();
}

double penalty(const DesignRows& design, double lambda, const Iterate& iterate) {
    return 0.5 * lambda * inner_product(design, iterate.coordinates, iterate.coordinates, iterate.scores);
}

}  // namespace

double objective(const DesignRows& design, const LogLoss& loss, double lambda, const Iterate& iterate) {
    LossState state;
    loss.evaluate_slope(total_scores(iterate), state);
    return state.loss + penalty(design, lambda, iterate);
}

namespace {

struct Gradient {
    MatrixXd coordinates;
    MatrixXd scores;  // gram: row scores of the coordinates
    VectorXd intercepts;
};

Gradient gradient(const DesignRows& design, const LossState& state, double lambda, const Iterate& iterate,
                  bool fit_intercept) {
    Gradient result{pull_back(design, state.residual), {}, VectorXd::Zero(state.residual.cols())};
    result.coordinates += lambda * iterate.coordinates;
    if (design.coordinates == Coordinates::gram) result.scores = row_scores(design, result.coordinates);
    if (fit_intercept) result.intercepts = state.residual.colwise().sum().transpose();
    return result;
}

/// What the norm of the unpenalised gradient would be without coefficients if no two rows cancelled: its
/// yardstick.
double largest_gradient(const DesignRows& design, const LogLoss& loss, bool fit_intercept) {
    LossState state;
    loss.evaluate_slope(total_scores(null_iterate(design, loss, fit_intercept)), state);
    const MatrixXd residual = state.residual.cwiseAbs();
    const double features = (design.matrix().cwiseAbs().transpose() * residual).squaredNorm();
    return std::sqrt(features + (fit_intercept ? residual.colwise().sum().squaredNorm() : 0.0));
}

double duality_gap(const DesignRows& design, const LogLoss& loss, const LossState& state, double lambda,
                   const Iterate& iterate, const Gradient& gradient, bool fit_intercept) {
    double divergence = 0.0;
    MatrixXd balanced = gradient.coordinates, scores = gradient.scores;
    if (fit_intercept) {
        MatrixXd change;
        divergence = loss.balance(total_scores(iterate), state, change);
        const MatrixXd pulled = pull_back(design, change);
        balanced += pulled;
        if (design.coordinates == Coordinates::gram) scores += row_scores(design, pulled);
    }
    const double squared = inner_product(design, balanced, balanced, scores);
    return divergence + std::max(squared, 0.0) / (2.0 * lambda);
}

/// Whether rows that an unpenalised fit left unsaturated determine fewer directions than all rows do: the
/// others are then separated along a direction that costs nothing, and the optimum lies at infinity
/// (quasi-complete separation).
bool runs_to_infinity(const DesignRows& design, const LossState& state) {
    MatrixXd bordered(design.n_rows(), design.n_coordinates() + 1);
    bordered << design.matrix(), VectorXd::Ones(design.n_rows());
    Index full_rank = -1;
    for (Index k = 0; k < state.curvature.cols(); ++k) {
        std::vector<Index> moving;
        for (Index i = 0; i < design.n_rows(); ++i) {
            if (state.curvature(i, k) > kSaturated) moving.push_back(i);
        }
        if (static_cast<Index>(moving.size()) == design.n_rows()) continue;
        if (full_rank < 0) full_rank = Eigen::ColPivHouseholderQR<MatrixXd>(bordered).rank();
        if (moving.empty() && full_rank > 0) return true;
        const MatrixXd rest = bordered(moving, Eigen::all);
        if (Eigen::ColPivHouseholderQR<MatrixXd>(rest).rank() < full_rank) return true;
    }
    return false;
}

/// Decides what a small gap means: the optimum, or, without a penalty, perhaps the way to infinity.
void settle(const DesignRows& design, const LossState& state, double lambda, NewtonReport& report) {
    report.converged = lambda > 0.0 || !runs_to_infinity(design, state);
    if (!report.converged) report.gap = kInfinity;
}

/// The derivative of the objective along a direction, and how far to go.
class LineSearch {
  public:
    LineSearch(const DesignRows& design, const LogLoss& loss, double lambda, const Iterate& iterate,
               const Direction& direction)
        : loss_(loss),
          lambda_(lambda),
          start_(total_scores(iterate)),
          change_(direction.scores.rowwise() + direction.step.intercepts.transpose()),
          linear_(inner_product(design, iterate.coordinates, direction.step.coordinates, direction.scores)),
          quadratic_(inner_product(design, direction.step.coordinates, direction.step.coordinates,
                                   direction.scores)) {}

    double change() const { return change_.cwiseAbs().maxCoeff(); }

    /// Step length, or 0 where none lowers the objective. Looks for a point where the slope has fallen to
    /// half or less of the first one; the objective is convex, so that point exists beyond every point with a
    /// steeper slope.
    double length(const LossState& at_start) {
        const double first_slope = slope(at_start, 0.0);
        if (!std::isfinite(first_slope) || first_slope >= 0.0) return 0.0;
        // Too close to the optimum for the objective to tell a better point from a worse one: trust Newton.
        if (-first_slope < 1e-13 * at_start.loss) return 1.0;
        double low = 0.0, low_slope = first_slope, high = kInfinity, high_slope = 0.0, length = 1.0;
        LossState state;
        for (int trial = 0; trial < 40; ++trial) {
            loss_.evaluate_slope(start_ + length * change_, state);
            const double here = slope(state, length);
            const double rise =
                state.loss - at_start.loss + lambda_ * length * (linear_ + 0.5 * length * quadratic_);
            const bool lower = rise <= 1e-4 * length * first_slope + 1e-14 * at_start.loss;
            if (lower && std::abs(here) <= -0.5 * first_slope) return length;
            if (here < 0.0 && std::isfinite(here)) {
                low = length;
                low_slope = here;
                length = std::isfinite(high) ? length : 3.0 * length;
                if (length > 1e6) return low;
            } else {
                high = length;
                high_slope = std::isfinite(here) ? here : kInfinity;
            }
            if (std::isfinite(high)) {
                const double secant = std::isfinite(high_slope) ? low_slope / (low_slope - high_slope) : 0.5;
                length = low + std::clamp(secant, 0.1, 0.9) * (high - low);
            }
        }
        return low;
    }

  private:
    double slope(const LossState& state, double length) const {
        return state.residual.cwiseProduct(change_).sum() + lambda_ * (linear_ + length * quadratic_);
    }

    const LogLoss& loss_;
    double lambda_;
    MatrixXd start_;
    MatrixXd change_;
    double linear_;
    double quadratic_;
};

/// Whether the factors at hand solve the system in fewer conjugate gradients than new factors are worth.
bool cheaper_to_reuse(const Preconditioner& preconditioner, const MatrixXd& curvature, double lambda,
                      double reduction, const DesignRows& design) {
    if (lambda == 0.0 || !preconditioner.has_factors(curvature.cols())) return false;
    const double root = std::sqrt(1.0 + preconditioner.drift(curvature, lambda));
    const double rate = (root - 1.0) / (root + 1.0);  // by which an iteration shrinks the error, at the worst
    if (!(rate > 0.0)) return true;
    const double n_iter = std::log(2.0 / reduction) / -std::log(rate);
    return n_iter <= kFactorsWorth * static_cast<double>(design.n_coordinates());
}

bool factors_fit_in_memory(const DesignRows& design, Index n_outputs) {
    const auto n = static_cast<double>(design.n_coordinates());
    return 8.0 * n * n * static_cast<double>(n_outputs) <= kFactorBytes;
}

}  // namespace

Iterate null_iterate(const DesignRows& design, const LogLoss& loss, bool fit_intercept) {
    Iterate iterate{MatrixXd::Zero(design.n_coordinates(), loss.n_outputs()),
                    MatrixXd::Zero(design.n_rows(), loss.n_outputs()), VectorXd::Zero(loss.n_outputs())};
    if (fit_intercept) iterate.intercepts = loss.null_intercepts();
    return iterate;
}

NewtonReport minimise(const DesignRows& design, const LogLoss& loss, double lambda,
                      const NewtonSettings& settings, Preconditioner& preconditioner, Iterate& iterate) {
    NewtonReport report;
    LossState state;
    const bool fits = factors_fit_in_memory(design, loss.n_outputs());
    // In Gram form a factor for each class costs no more than a few products; in primal form forming the
    // matrices costs as much as n_coordinates / 2 products, so they wait until products prove many.
    bool per_class = loss.n_outputs() > 1 && fits && design.coordinates == Coordinates::gram;
    const double gradient_scale =
        lambda == 0.0 ? largest_gradient(design, loss, settings.fit_intercept) : 0.0;
    double last_change = lambda > 0.0 ? 0.0 : kInfinity;  // largest change of a score in the step before
    bool rough = static_cast<bool>(design.exact_scores);
    bool certified = false;
    Iterate certified_iterate;
    NewtonReport certified_report;

    for (;;) {
        loss.evaluate(total_scores(iterate), state);
        const Gradient slope = gradient(design, state, lambda, iterate, settings.fit_intercept);
        report.objective = state.loss + penalty(design, lambda, iterate);
        if (lambda > 0.0) {
            const double gap =
                duality_gap(design, loss, state, lambda, iterate, slope, settings.fit_intercept);
            report.gap = report.objective > 0.0 ? gap / report.objective : 0.0;
            if (rough && report.gap <= std::max(settings.tol, kRoughGap)) {
                rough = false;
                iterate.scores = design.exact_scores(iterate.coordinates);
                continue;
            }
        } else {
            if (loss.separates(total_scores(iterate))) {
                report.gap = kInfinity;
                return report;
            }
            const double norm = std::sqrt(slope.coordinates.squaredNorm() + slope.intercepts.squaredNorm());
            report.gap = gradient_scale > 0.0 ? norm / gradient_scale : 0.0;
        }
        if (certified) {
            // The polishing step was the last one; keep it unless rounding made it worse.
            if (report.gap <= certified_report.gap) {
                report.converged = true;
            } else {
                const int n_iter = report.n_iter;
                iterate = std::move(certified_iterate);
                report = certified_report;
                report.n_iter = n_iter;
            }
            return report;
        }
        // Where a direction of no cost leads to infinity the gradient vanishes too, but scores go on
        // changing.
        const bool last = report.n_iter >= settings.max_iter;
        if (report.gap <= settings.tol && (last_change <= 1e-3 || last)) {
            settle(design, state, lambda, report);
            if (!report.converged || !settings.polish) return report;
        }
        if (last) return report;
        if (report.converged) {
            certified = true;
            certified_iterate = iterate;
            certified_report = report;
        }

        const MatrixXd curvature = per_class ? state.curvature : loss.shared_curvature(state);
        // Steps exact enough for the error to be squared, or nearly, by each.
        const double wanted = certified ? std::sqrt(kPolished / report.gap) : std::sqrt(report.gap);
        const double reduction = std::clamp(wanted, 1e-6, report.gap > 1.0 ? 0.3 : 0.1);
        const bool fresh = !cheaper_to_reuse(preconditioner, curvature, lambda, reduction, design);
        if (fresh) preconditioner.factorise(curvature, lambda);
        const bool exact = fresh && loss.n_outputs() == 1 && lambda > 0.0;
        const Direction direction = newton_direction(
            design, loss, state, lambda, settings.fit_intercept, preconditioner, -slope.coordinates,
            -slope.scores, -slope.intercepts, reduction, exact ? 1 : kMaxConjugateGradients);
        if (!per_class && fits && loss.n_outputs() > 1 &&
            direction.n_iter > std::max<Index>(20, design.n_coordinates() / 2)) {
            per_class = true;
        }
        LineSearch search(design, loss, lambda, iterate, direction);
        const double length = search.length(state);
        ++report.n_iter;
        if (length == 0.0) {
            // No descent left. Without a penalty a zero step is also how an optimum at the start shows.
            if (report.gap <= settings.tol) {
                settle(design, state, lambda, report);
            } else if (lambda == 0.0 && runs_to_infinity(design, state)) {
                report.gap = kInfinity;  // rounding ended the way there
            }
            return report;
        }
        if (lambda == 0.0) last_change = length * search.change();
        iterate.coordinates += length * direction.step.coordinates;
        iterate.intercepts += length * direction.step.intercepts;
        // In Gram form scores must stay the Gram matrix times the coordinates to the last digit: the
        // certificate uses both.
        iterate.scores = design.exact_scores && !rough ? design.exact_scores(iterate.coordinates)
                                                       : row_scores(design, iterate.coordinates);
    }
}

}  // namespace fastplr::solver
