// Linear regression with a normal prior whose width the data tell.
#pragma once

#include <Eigen/Core>
#include <Eigen/SVD>

namespace fastplr {

/// Coefficients with independent normal priors around zero, of one variance, under independent normal noise
/// of one variance: both maximise the evidence (MacKay, Neural Computation 4, 1992).
class EvidenceRidge {
  public:
    struct Posterior {
        Eigen::VectorXd mean;
        Eigen::VectorXd variance;
    };

    /// \param design [samples, coefficients], each row divided by its noise's relative standard deviation
    explicit EvidenceRidge(const Eigen::MatrixXd& design);

    /// \param observed [samples], scaled as `design`
    /// \param noise_left the part of the noise's variance that estimates are exposed to, > 0 and <= 1: less
    ///   than 1 where the samples are a large part of all there are
    /// \param prior_share prior variance of a coefficient in units of the prior's: 1, or less where a
    ///   combination of coefficients is known
    Posterior fit(const Eigen::VectorXd& observed, double noise_left = 1.0, double prior_share = 1.0) const;

  private:
    Eigen::BDCSVD<Eigen::MatrixXd> svd_;
    Eigen::VectorXd squares_;
};

}  // namespace fastplr
