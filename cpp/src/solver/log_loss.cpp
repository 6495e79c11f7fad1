#include "log_loss.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

namespace fastplr::solver {
namespace {

/// p ((1 + x) log(1 + x) - x) with q = p (1 + x): one term of KL(q || p), summed in the form q log(q / p) - q
/// + p, whose terms are all >= 0. `log_p` computes the logarithm of a probability, which may have
/// underflowed.
template <typename LogP>
double divergence_term(double p, double q, const LogP& log_p) {
    if (q <= 0.0) return p;
    const double x = (q - p) / p;
    if (std::abs(x) < 1e-3) return p * x * x * (0.5 - x * (1.0 / 6.0 - x * (1.0 / 12.0 - x / 20.0)));
    return q * (std::log(q) - log_p()) - q + p;
}

/// log(1 / (1 + exp(-z)))
double log_sigmoid(double z) { return std::min(z, 0.0) - std::log1p(std::exp(-std::abs(z))); }

double log_sum_exp(const MatrixXd& scores, Index row) {
    const double top = scores.row(row).maxCoeff();
    return top + std::log((scores.row(row).array() - top).exp().sum());
}

}  // namespace

LogLoss::LogLoss(Eigen::VectorXi labels, VectorXd weights, Index n_classes, Index n_outputs)
    : labels_(std::move(labels)),
      weights_(std::move(weights)),
      class_weights_(VectorXd::Zero(n_classes)),
      n_outputs_(n_outputs) {
    for (Index i = 0; i < labels_.size(); ++i) class_weights_[labels_[i]] += weights_[i];
}

void LogLoss::evaluate(const MatrixXd& scores, LossState& state) const {
    if (n_outputs_ == 1) {
        evaluate_binary(scores, state, true);
    } else {
        evaluate_softmax(scores, state, true);
    }
}

void LogLoss::evaluate_slope(const MatrixXd& scores, LossState& state) const {
    if (n_outputs_ == 1) {
        evaluate_binary(scores, state, false);
    } else {
        evaluate_softmax(scores, state, false);
    }
}

void LogLoss::evaluate_binary(const MatrixXd& scores, LossState& state, bool with_curvature) const {
    const Index n = n_rows();
    state.residual.resize(n, 1);
    if (with_curvature) state.curvature.resize(n, 1);
    state.loss = 0.0;
    for (Index i = 0; i < n; ++i) {
        // From the margin alone: the probability of the wrong class keeps its relative accuracy however small
        // it is.
        const double margin = labels_[i] == 1 ? scores(i, 0) : -scores(i, 0);
        const double e = std::exp(-std::abs(margin));
        const double wrong = margin >= 0.0 ? e / (1.0 + e) : 1.0 / (1.0 + e);
        const double log_loss = std::log1p(e) + (margin < 0.0 ? -margin : 0.0);
        state.loss += weights_[i] * log_loss;
        state.residual(i, 0) = labels_[i] == 1 ? -weights_[i] * wrong : weights_[i] * wrong;
        if (with_curvature) state.curvature(i, 0) = weights_[i] * e / ((1.0 + e) * (1.0 + e));
    }
}

void LogLoss::evaluate_softmax(const MatrixXd& scores, LossState& state, bool with_curvature) const {
    const Index n = n_rows();
    const Index n_classes = n_outputs_;
    MatrixXd& p = state.probabilities;
    const VectorXd top = scores.rowwise().maxCoeff();
    p = (scores.colwise() - top).array().exp();
    const VectorXd total = p.rowwise().sum();
    p.array().colwise() /= total.array();

    if (with_curvature) state.curvature = (p.array() * (1.0 - p.array())).colwise() * weights_.array();
    state.residual = p.array().colwise() * weights_.array();
    state.loss = 0.0;
    for (Index i = 0; i < n; ++i) {
        const int label = labels_[i];
        // 1 - p loses its digits where p is near 1, which only one class of a row can be: there the sum of
        // the others.
        double wrong = 1.0 - p(i, label);
        double log_loss;
        if (p(i, label) > 0.5) {
            wrong = 0.0;
            for (Index k = 0; k < n_classes; ++k) wrong += k == label ? 0.0 : p(i, k);
            log_loss = -std::log1p(-wrong);
            if (with_curvature) state.curvature(i, label) = weights_[i] * p(i, label) * wrong;
        } else {
            log_loss = std::log(total[i]) + top[i] - scores(i, label);
            Index best = 0;
            if (with_curvature && p.row(i).maxCoeff(&best) > 0.5) {
                double others = 0.0;
                for (Index k = 0; k < n_classes; ++k) others += k == best ? 0.0 : p(i, k);
                state.curvature(i, best) = weights_[i] * p(i, best) * others;
            }
        }
        state.loss += weights_[i] * log_loss;
        state.residual(i, label) = -weights_[i] * wrong;
    }
}

MatrixXd LogLoss::curvature_product(const LossState& state, const MatrixXd& change) const {
    if (n_outputs_ == 1) return state.curvature.cwiseProduct(change);
    const MatrixXd& p = state.probabilities;
    const VectorXd mean = p.cwiseProduct(change).rowwise().sum();
    MatrixXd product = p.array() * (change.colwise() - mean).array();
    // Rows of the result sum to zero; where one probability is near 1 its entry is only right as minus the
    // others.
    VectorXd sums = product.rowwise().sum();
    for (Index i = 0; i < n_rows(); ++i) {
        Index best = 0;
        p.row(i).maxCoeff(&best);
        product(i, best) -= sums[i];
    }
    product.array().colwise() *= weights_.array();
    return product;
}

double LogLoss::balance(const MatrixXd& scores, const LossState& state, MatrixXd& change) const {
    // Column sums of the residual: the weight that each class has too much. Classes with too much give a
    // share of each row's probability, classes with too little receive it in proportion to what they lack.
    // Rows keep their sum.
    const Index n = n_rows();
    const Index n_outputs = n_outputs_;
    const Index n_classes = n_outputs == 1 ? 2 : n_outputs;
    VectorXd excess(n_classes);
    if (n_outputs == 1) {
        excess[1] = state.residual.sum();
        excess[0] = -excess[1];
    } else {
        excess = state.residual.colwise().sum().transpose();
    }
    const VectorXd given = excess.cwiseMax(0.0).cwiseQuotient(class_weights_ + excess.cwiseMax(0.0));
    const double lacking = (-excess).cwiseMax(0.0).sum();
    change = MatrixXd::Zero(n, n_outputs);
    if (!(lacking > 0.0)) return 0.0;
    const VectorXd share = (-excess).cwiseMax(0.0) / lacking;

    double divergence = 0.0;
    VectorXd p(n_classes);
    for (Index i = 0; i < n; ++i) {
        double log_total = std::numeric_limits<double>::quiet_NaN();  // computed where needed
        if (n_outputs == 1) {
            const double e = std::exp(-std::abs(scores(i, 0)));
            const Index likely = scores(i, 0) >= 0.0 ? 1 : 0;
            p[likely] = 1.0 / (1.0 + e);
            p[1 - likely] = e / (1.0 + e);
        } else {
            p = state.probabilities.row(i).transpose();
        }
        const double moved = p.dot(given);
        for (Index k = 0; k < n_classes; ++k) {
            const double delta = moved * share[k] - p[k] * given[k];
            const auto log_p = [&] {
                if (n_outputs == 1) return log_sigmoid(k == 1 ? scores(i, 0) : -scores(i, 0));
                if (std::isnan(log_total)) log_total = log_sum_exp(scores, i);
                return scores(i, k) - log_total;
            };
            // A probability that underflowed is taken from its logarithm, which did not.
            const double from = p[k] > 0.0 ? p[k] : std::numeric_limits<double>::denorm_min();
            divergence += weights_[i] * divergence_term(from, p[k] + delta, log_p);
            if (n_outputs > 1) {
                change(i, k) = weights_[i] * delta;
            } else if (k == 1) {
                change(i, 0) = weights_[i] * delta;
            }
        }
    }
    return divergence;
}

MatrixXd LogLoss::shared_curvature(const LossState& state) const {
    if (n_outputs_ == 1) return state.curvature;
    // Exact at uniform probabilities, where the second derivative is w / K on vectors that sum to zero.
    const auto n_classes = static_cast<double>(n_outputs_);
    return state.curvature.rowwise().sum() / (n_classes - 1.0);
}

VectorXd LogLoss::null_intercepts() const {
    const VectorXd logs = class_weights_.array().log();
    if (n_outputs_ == 1) return VectorXd::Constant(1, logs[1] - logs[0]);
    return logs.array() - logs.mean();
}

bool LogLoss::separates(const MatrixXd& scores) const {
    for (Index i = 0; i < n_rows(); ++i) {
        const int label = labels_[i];
        if (n_outputs_ == 1) {
            if (!((label == 1 ? scores(i, 0) : -scores(i, 0)) > 0.0)) return false;
            continue;
        }
        for (Index k = 0; k < n_outputs_; ++k) {
            if (k != label && !(scores(i, label) > scores(i, k))) return false;
        }
    }
    return true;
}

}  // namespace fastplr::solver
