#include "explain/evidence_ridge.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace fastplr {

using Eigen::ArrayXd;
using Eigen::VectorXd;

EvidenceRidge::EvidenceRidge(const Eigen::MatrixXd& design)
    : svd_(design, Eigen::ComputeThinU | Eigen::ComputeThinV),
      squares_(svd_.singularValues().array().square()) {}

EvidenceRidge::Posterior EvidenceRidge::fit(const VectorXd& observed, double noise_left,
                                            double prior_share) const {
    const auto m = static_cast<double>(observed.size());
    const VectorXd along = svd_.matrixU().transpose() * observed;
    const ArrayXd energy = along.array().square();
    const double beside = std::max(observed.squaredNorm() - energy.sum(), 0.0);
    // The ratio of the prior's variance to the noise's, on a grid of quarters of octaves.
    double best = -std::numeric_limits<double>::infinity();
    double ratio = 0.0;
    double noise = 0.0;
    for (int step = -40; step <= 80; ++step) {
        const double tried = std::exp2(0.25 * step);
        const ArrayXd total = 1.0 + tried * squares_.array();
        const double variance = ((energy / total).sum() + beside) / m;
        if (!(variance > 0)) break;  // zero explains everything
        const double evidence = -0.5 * (m * std::log(variance) + total.log().sum());
        if (evidence > best) {
            best = evidence;
            ratio = tried;
            noise = variance;
        }
    }
    const Eigen::Index n = svd_.matrixV().rows();
    if (ratio == 0.0) return {VectorXd::Zero(n), VectorXd::Zero(n)};
    noise *= noise_left;
    ratio /= noise_left;
    const ArrayXd known = ratio * squares_.array() / (1.0 + ratio * squares_.array());
    const VectorXd steps =
        ratio * svd_.singularValues().array() / (1.0 + ratio * squares_.array()) * along.array();
    const VectorXd told = svd_.matrixV().array().square().matrix() * known.matrix();
    return {svd_.matrixV() * steps, ratio * noise * (prior_share - told.array()).max(0.0)};
}

}  // namespace fastplr
