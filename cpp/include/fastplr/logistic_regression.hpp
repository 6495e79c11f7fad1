// L2-penalised logistic regression for few rows and many features: fits, penalty paths and cross-validation.
//
// All functions minimise, over the coefficients B and the intercepts b,
//
//     P(B, b) = sum_i w_i log_loss_i(B, b) + (lambda / 2) ||B||_F^2
//
// where log_loss_i = -log p_i[label_i]. With two classes there is one coefficient vector and one intercept,
// for class 1 (p_i = 1 / (1 + exp(-x_i B - b))); with more there is one per class (symmetric softmax) and the
// intercepts, which the objective knows only up to a common shift, sum to zero. Intercepts are never
// penalised.
//
// A fit stops on a certificate: P - D <= tol * P, where D is the value of the Fenchel dual at a feasible
// point. With q_i the predicted probabilities moved until sum_i w_i q_i equals the weighted class counts, the
// gap is
//
//     P - D = sum_i w_i KL(q_i || p_i) + ||X' (w (q - y)) + lambda B||_F^2 / (2 lambda),
//
// which is computed in this form: no cancellation, never negative. (Fenchel duality of regularised risk:
// Shalev-Shwartz and Zhang, JMLR 14 (2013), section 2; the conjugate of the log-loss is the negative entropy:
// Yu, Huang and Lin, Machine Learning 85 (2011).) Without a penalty (lambda = 0) there is no such
// certificate: `gap` is then the norm of the gradient over what it would be at B = 0 if no two rows
// cancelled, and infinity where a hyperplane separates classes, so that no optimum exists.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

namespace fastplr {

/// Number type of a feature matrix.
enum class FeatureType { float32, float64 };

/// A feature matrix [n_rows x n_features] in the caller's memory, with any strides (in elements, not bytes).
/// float32 is widened block by block: no copy of the matrix in float64 is made in the Gram form.
struct FeatureView {
    const void* data = nullptr;
    FeatureType type = FeatureType::float64;
    std::ptrdiff_t n_rows = 0;
    std::ptrdiff_t n_features = 0;
    std::ptrdiff_t row_stride = 0;
    std::ptrdiff_t feature_stride = 1;

    /// A contiguous row-major matrix.
    static FeatureView row_major(const double* data, std::ptrdiff_t n_rows, std::ptrdiff_t n_features) {
        return {data, FeatureType::float64, n_rows, n_features, n_features, 1};
    }
    static FeatureView row_major(const float* data, std::ptrdiff_t n_rows, std::ptrdiff_t n_features) {
        return {data, FeatureType::float32, n_rows, n_features, n_features, 1};
    }
};

/// Rows to learn from. The views must outlive the call.
struct TrainingRows {
    FeatureView features;
    /// [n_rows], each in 0..n_classes-1.
    std::span<const std::int32_t> labels;
    int n_classes = 2;
    /// [n_rows], finite and >= 0, with a positive sum; empty means 1 for every row. A row of weight 0 is left
    /// out.
    std::span<const double> weights = {};
};

/// Which linear system Newton solves: in the n_rows unknowns of B = X' A (gram) or in B itself (primal).
/// `automatic` takes gram where n_rows < 1.8 n_features (of more than two classes, 1.0): factors of either
/// form then cost about the same, and folds share one Gram matrix. A single fit of many rows computes that
/// matrix in single precision, which halves its time, and takes scores of the features themselves near the
/// optimum: the certificate and the optimum are those of double precision.
enum class SolverForm { automatic, gram, primal };

struct SolverOptions {
    /// Relative duality gap at which a fit counts as converged, > 0.
    double tol = 1e-8;
    /// Most Newton iterations for one penalty, >= 1.
    int max_iter = 100;
    bool fit_intercept = true;
    SolverForm form = SolverForm::automatic;
    /// Threads for the Gram matrix and the folds; 0 means all that the hardware has.
    int n_threads = 1;
    /// Take one more Newton step once the certificate holds: the coefficients are then good to about the
    /// square of what the certificate promises. Cross-validation never does.
    bool polish = true;
};

/// The result of one fit.
struct LogisticFit {
    /// Row-major [n_outputs x n_features]; n_outputs is 1 for two classes, else n_classes.
    std::vector<double> coefficients;
    /// [n_outputs]; zeros where no intercept was asked for.
    std::vector<double> intercepts;
    double lambda = 0.0;
    /// P at the solution.
    double objective = 0.0;
    /// Relative duality gap (P - D) / P; see the top of this file for lambda = 0.
    double gap = 0.0;
    int n_iter = 0;
    bool converged = false;
    /// gram or primal, never automatic.
    SolverForm form = SolverForm::gram;
};

/// Fits one penalty. lambda must be finite and >= 0.
/// Throws InputError for shapes that do not fit, non-finite features or weights, labels out of range, a class
/// without a row of positive weight, lambda, tol or max_iter out of range.
LogisticFit fit_logistic_regression(const TrainingRows& rows, double lambda,
                                    const SolverOptions& options = {});

/// Fits every penalty from the largest to the smallest, each started at the one before; results come in the
/// order of `lambdas`. The Gram matrix is computed once. Throws InputError as fit_logistic_regression.
std::vector<LogisticFit> fit_logistic_path(const TrainingRows& rows, std::span<const double> lambdas,
                                           const SolverOptions& options = {});

/// Rows to train on and rows to score, as row numbers of the training rows.
struct Fold {
    std::vector<std::int64_t> train;
    std::vector<std::int64_t> test;
};

/// Means over the scored rows of one fold, larger is better, defined as in scikit-learn's scorers of the same
/// names: neg_log_loss clips probabilities at 2.2e-16, balanced_accuracy averages over the classes that occur
/// among the scored rows, f1_macro over the classes that occur among them or among the predictions.
enum class Scoring { neg_log_loss, accuracy, balanced_accuracy, f1_macro };

/// `best` takes the largest mean score; `one_standard_error` the largest penalty whose mean score is within
/// one standard error (over the folds) of that. Ties go to the larger penalty.
enum class Selection { best, one_standard_error };

struct CrossValidationOptions {
    Scoring scoring = Scoring::neg_log_loss;
    Selection selection = Selection::best;
    /// [n_rows] weights of the rows in the scores; empty means 1 for every row. Apart from
    /// TrainingRows::weights because class weights belong in the fit but not in the score. A fold without a
    /// scored row of positive weight throws.
    std::span<const double> score_weights = {};
};

struct CrossValidation {
    /// Row-major [n_folds x n_lambdas], in the order of `folds` and `lambdas`.
    std::vector<double> scores;
    /// Position in `lambdas` of the chosen penalty.
    std::size_t selected = 0;
    /// How many of the fits on folds ended without their certificate.
    int n_unconverged = 0;
};

/// Scores every penalty on every fold. A fold is a subset of rows of one Gram matrix (or of one reduced
/// feature matrix), its path is fitted with warm starts, and folds run in parallel. A class without a row of
/// positive weight in a fold's training rows gets probability 0 there. Throws InputError as
/// fit_logistic_regression, and for empty folds, row numbers out of range, or a row that is trained on and
/// scored in the same fold.
CrossValidation cross_validate_logistic(const TrainingRows& rows, std::span<const double> lambdas,
                                        std::span<const Fold> folds,
                                        const CrossValidationOptions& cross_validation,
                                        const SolverOptions& options = {});

/// What fits that had not seen a row would say of it.
struct LeaveOneOut {
    /// Row-major [n_lambdas x n_rows x n_outputs], intercepts included; for two classes n_outputs is 1 and
    /// the logit is that of class 1.
    std::vector<double> logits;
    /// How many of the fits ended without their certificate.
    int n_unconverged = 0;
};

/// Approximate leave-one-out: one fit a penalty, and for each row one Newton step towards the fit without it
/// (Rad and Maleki, arXiv 1801.10243). Of a row of weight 0 the logits of the fit itself, which has not seen
/// it. The cost of a penalty is that of inverting a matrix of the order n_rows (in primal form n_features +
/// 1, if that is less) times max(1, n_classes - 1), which may be `kMaxLeaveOneOutOrder` at the most;
/// penalties are shared out over threads. Every lambda must be > 0. Throws InputError as
/// fit_logistic_regression.
LeaveOneOut approximate_leave_one_out(const TrainingRows& rows, std::span<const double> lambdas,
                                      const SolverOptions& options = {});

inline constexpr std::ptrdiff_t kMaxLeaveOneOutOrder = 8192;  // half a gigabyte

/// A cross-validated penalty and the fit of all rows with it.
struct CrossValidatedFit {
    CrossValidation cross_validation;
    LogisticFit fit;
};

/// cross_validate_logistic and the fit with the selected penalty, from the same Gram matrix.
CrossValidatedFit fit_cross_validated_logistic(const TrainingRows& rows, std::span<const double> lambdas,
                                               std::span<const Fold> folds,
                                               const CrossValidationOptions& cross_validation,
                                               const SolverOptions& options = {});

}  // namespace fastplr
