#include "scoring.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace fastplr::solver {
namespace {

double mean_log_probability(const MatrixXd& logits, const Eigen::VectorXi& labels, const VectorXd& weights) {
    constexpr double kSmallest = std::numeric_limits<double>::epsilon();
    double sum = 0.0;
    for (Index i = 0; i < logits.rows(); ++i) {
        const double top = logits.row(i).maxCoeff();
        const double total = (logits.row(i).array() - top).exp().sum();
        const double probability = std::exp(logits(i, labels[i]) - top) / total;
        sum += weights[i] * std::log(std::clamp(probability, kSmallest, 1.0 - kSmallest));
    }
    return sum / weights.sum();
}

}  // namespace

double score_rows(const MatrixXd& logits, const Eigen::VectorXi& labels, const VectorXd& weights,
                  Scoring scoring) {
    if (scoring == Scoring::neg_log_loss) return mean_log_probability(logits, labels, weights);
    const Index n_classes = logits.cols();
    VectorXd hit = VectorXd::Zero(n_classes), actual = hit, predicted = hit;
    for (Index i = 0; i < logits.rows(); ++i) {
        Index best = 0;
        logits.row(i).maxCoeff(&best);  // the first of equals, as argmax
        actual[labels[i]] += weights[i];
        predicted[best] += weights[i];
        if (best == labels[i]) hit[best] += weights[i];
    }
    if (scoring == Scoring::accuracy) return hit.sum() / actual.sum();
    double sum = 0.0;
    double n_counted = 0.0;
    for (Index k = 0; k < n_classes; ++k) {
        if (scoring == Scoring::balanced_accuracy) {
            if (!(actual[k] > 0.0)) continue;
            sum += hit[k] / actual[k];
        } else {
            if (!(actual[k] + predicted[k] > 0.0)) continue;
            sum += 2.0 * hit[k] / (actual[k] + predicted[k]);
        }
        n_counted += 1.0;
    }
    return sum / n_counted;
}

}  // namespace fastplr::solver
