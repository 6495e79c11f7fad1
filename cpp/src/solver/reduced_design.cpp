#include "reduced_design.hpp"

#include <Eigen/Eigenvalues>
#include <algorithm>
#include <cmath>
#include <memory>
#include <numeric>
#include <string>
#include <utility>

#include "fastplr/errors.hpp"
#include "parallel.hpp"
#include "products.hpp"

namespace fastplr::solver {
namespace {

/// Features of a product at a time: small enough to stay in cache with 1,000 rows, large enough for the
/// product to be fast.
constexpr Index kFeatureBlock = 256;
/// Features that are copied at a time, where the copy of all is to be the only one.
constexpr Index kCopiedFeatures = 16;
/// Features of sums at a time: the sums stay in the first cache.
constexpr Index kMomentBlock = 512;
/// Values for which a second thread is worth starting.
constexpr Index kThreadedValues = 200'000;
/// Multiplications for which it is.
constexpr Index kThreadedProducts = 30'000'000;
/// Gram form is faster up to this many rows a feature. Two classes: a factor of order n costs n^3 / 3, the
/// primal system n p^2 + p^3 / 3 (equal at 1.88), and the Gram matrix is made once for all folds. More
/// classes have a factor each there and share one in primal form (measured with 3 to 77 classes, 576 and 2048
/// features: 0.7 to 1.2).
constexpr double kGramRowsPerFeature = 1.8;
constexpr double kGramRowsPerFeatureOfClasses = 1.0;
/// Multiplications from which on a Gram matrix in single precision saves more than exact scores cost.
constexpr double kManyProducts = 2e7;
/// Single precision errs by some 1e-7 of the largest square: by this ratio 1 % of the penalty.
constexpr double kLargestRoughRatio = 1e5;
/// Squares of this size or its inverse leave single precision room for smaller features.
constexpr double kRoughRange = 1e20;
/// Gram form divides by lambda what it computed from numbers this much larger: 7 digits are left at worst.
constexpr double kLargestGramRatio = 1e9;

double feature(const FeatureView& view, Index row, Index column) {
    const std::ptrdiff_t at = row * view.row_stride + column * view.feature_stride;
    return view.type == FeatureType::float64 ? static_cast<const double*>(view.data)[at]
                                             : static_cast<double>(static_cast<const float*>(view.data)[at]);
}

/// Rows of features as they lie in a NumPy array.
using RowMajor = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using MappedRows = Eigen::Map<const RowMajor, 0, Eigen::OuterStride<>>;

/// Whether products can be taken of the caller's memory as it is.
bool can_be_mapped(const FeatureView& view) {
    return view.type == FeatureType::float64 && view.feature_stride == 1 &&
           view.row_stride >= view.n_features;
}

MappedRows mapped(const FeatureView& view) {
    return {static_cast<const double*>(view.data), view.n_rows, view.n_features,
            Eigen::OuterStride<>(view.row_stride)};
}

template <typename Scalar>
void copy_block(const FeatureView& view, Index first, Index count, const VectorXd& means, RowMajor& block) {
    const auto* data = static_cast<const Scalar*>(view.data) + first * view.feature_stride;
    block.resize(view.n_rows, count);
    if (view.feature_stride == 1) {
        for (Index row = 0; row < view.n_rows; ++row) {
            const Eigen::Map<const Eigen::Array<Scalar, 1, Eigen::Dynamic>> source(
                data + row * view.row_stride, count);
            block.row(row).array() =
                source.template cast<double>() - means.segment(first, count).transpose().array();
        }
        return;
    }
    // Strips of features: lines of the block stay in cache while its columns are written.
    constexpr Index kStrip = 16;
    for (Index strip = 0; strip < count; strip += kStrip) {
        const Index end = std::min<Index>(strip + kStrip, count);
        for (Index row = 0; row < view.n_rows; ++row) {
            for (Index column = strip; column < end; ++column) {
                const auto value =
                    static_cast<double>(data[row * view.row_stride + column * view.feature_stride]);
                block(row, column) = value - means[first + column];
            }
        }
    }
}

/// Features first .. first+count-1 of all rows, in float64, less their means.
void load_block(const FeatureView& view, Index first, Index count, const VectorXd& means, RowMajor& block) {
    if (view.type == FeatureType::float64) {
        copy_block<double>(view, first, count, means, block);
    } else {
        copy_block<float>(view, first, count, means, block);
    }
}

[[noreturn]] void throw_not_finite(const FeatureView& view, Index column) {
    for (Index row = 0; row < view.n_rows; ++row) {
        const double value = feature(view, row, column);
        if (!std::isfinite(value)) {
            const std::string what = std::isnan(value) ? "NaN" : value > 0.0 ? "infinity" : "-infinity";
            throw InputError("feature " + std::to_string(column) + " of row " + std::to_string(row) + " is " +
                             what + ": features must be finite");
        }
    }
    throw InputError("feature " + std::to_string(column) +
                     " is too large: its sum over the rows overflows; scale the features first");
}

struct Moments {
    VectorXd means;
    VectorXd variances;
};

template <typename Scalar>
void add_moments(const FeatureView& view, Index first, Index count, VectorXd& sums, VectorXd& squares) {
    const auto* data = static_cast<const Scalar*>(view.data) + first * view.feature_stride;
    for (Index row = 0; row < view.n_rows; ++row) {
        const Eigen::Map<const Eigen::Array<Scalar, Eigen::Dynamic, 1>, 0, Eigen::InnerStride<>> source(
            data + row * view.row_stride, count, Eigen::InnerStride<>(view.feature_stride));
        if (view.feature_stride == 1) {
            const Eigen::Map<const Eigen::Array<Scalar, Eigen::Dynamic, 1>> packed(source.data(), count);
            sums.segment(first, count).array() += packed.template cast<double>();
            squares.segment(first, count).array() += packed.template cast<double>().square();
        } else {
            sums.segment(first, count).array() += source.template cast<double>();
            squares.segment(first, count).array() += source.template cast<double>().square();
        }
    }
}

/// Throws where a feature is not finite. Variances are rough where means are large.
Moments moments(const FeatureView& view, int n_threads) {
    VectorXd sums = VectorXd::Zero(view.n_features), squares = sums;
    const Index n_blocks = (view.n_features + kMomentBlock - 1) / kMomentBlock;
    const bool small = view.n_rows * view.n_features < kThreadedValues;
    parallel_for(n_blocks, small ? 1 : n_threads, [&](Index b) {
        const Index first = b * kMomentBlock;
        const Index count = std::min(kMomentBlock, view.n_features - first);
        if (view.type == FeatureType::float64) {
            add_moments<double>(view, first, count, sums, squares);
        } else {
            add_moments<float>(view, first, count, sums, squares);
        }
    });
    for (Index j = 0; j < view.n_features; ++j) {
        // NaN and infinity carry over to the sum.
        if (!std::isfinite(sums[j])) throw_not_finite(view, j);
    }
    const auto n = static_cast<double>(view.n_rows);
    Moments found{sums / n, {}};
    found.variances = (squares / n - found.means.cwiseAbs2()).cwiseMax(0.0);
    return found;
}

/// Whether centring after a product loses no digits worth having.
bool centred_enough(const VectorXd& means, double sum_of_variances) {
    return means.squaredNorm() <= sum_of_variances;
}

/// The sum of what `add` adds for blocks of features to matrices [order x n_columns]. Threads share the
/// blocks out and add up their parts.
template <typename Add>
MatrixXd sum_of_blocks(const FeatureView& view, Index n_columns, int n_threads, const Add& add) {
    const Index n_blocks = (view.n_features + kFeatureBlock - 1) / kFeatureBlock;
    const bool small = view.n_rows * view.n_features * n_columns < kThreadedProducts;
    const Index n_parts = small ? 1 : std::max<Index>(1, std::min<Index>(n_threads, n_blocks));
    std::vector<MatrixXd> parts(static_cast<std::size_t>(n_parts));
    parallel_for(n_parts, n_threads, [&](Index part) {
        MatrixXd& own = parts[static_cast<std::size_t>(part)];
        own = MatrixXd::Zero(view.n_rows, n_columns);
        for (Index b = part; b < n_blocks; b += n_parts) {
            const Index first = b * kFeatureBlock;
            add(first, std::min(kFeatureBlock, view.n_features - first), own);
        }
    });
    for (Index part = 1; part < n_parts; ++part) parts[0] += parts[static_cast<std::size_t>(part)];
    return std::move(parts[0]);
}

void copy_to_upper(MatrixXd& matrix) { matrix.triangularView<Eigen::StrictlyUpper>() = matrix.transpose(); }

/// X X' of the centred features.
MatrixXd gram_matrix(const FeatureView& view, const VectorXd& means, bool directly, int n_threads) {
    MatrixXd gram =
        sum_of_blocks(view, view.n_rows, n_threads, [&](Index first, Index count, MatrixXd& part) {
            if (directly) {
                part.selfadjointView<Eigen::Lower>().rankUpdate(mapped(view).middleCols(first, count));
            } else {
                RowMajor block;
                load_block(view, first, count, means, block);
                part.selfadjointView<Eigen::Lower>().rankUpdate(block);
            }
        });
    copy_to_upper(gram);
    if (directly && !means.isZero(0.0)) {
        const VectorXd row_means = gram.rowwise().mean();
        const double mean = row_means.mean();
        gram.colwise() -= row_means;
        gram.rowwise() -= (row_means.array() - mean).matrix().transpose();
    }
    return gram;
}

/// The same to some 6 digits, and the means, in one pass over the features: blocks are multiplied in single
/// precision and added up in double.
MatrixXd rough_gram_matrix(const FeatureView& view, bool centre, int n_threads, VectorXd& means) {
    means = VectorXd::Zero(view.n_features);
    const VectorXd zeros = means;
    const auto narrow = [&](const auto& source, Index first, auto& block) {
        Eigen::RowVectorXd mean = Eigen::RowVectorXd::Zero(source.cols());
        if (centre) {
            for (Index row = 0; row < source.rows(); ++row) mean += source.row(row);
            mean /= static_cast<double>(source.rows());
            means.segment(first, source.cols()) = mean.transpose();
        }
        block.resize(source.rows(), source.cols());
        for (Index row = 0; row < source.rows(); ++row) {
            block.row(row) = (source.row(row) - mean).template cast<float>();
        }
    };
    MatrixXd gram =
        sum_of_blocks(view, view.n_rows, n_threads, [&](Index first, Index count, MatrixXd& part) {
            Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor> block;
            if (can_be_mapped(view)) {
                narrow(mapped(view).middleCols(first, count), first, block);
            } else {
                RowMajor wide;
                load_block(view, first, count, zeros, wide);
                narrow(wide, first, block);
            }
            Eigen::MatrixXf product = Eigen::MatrixXf::Zero(view.n_rows, view.n_rows);
            product.selfadjointView<Eigen::Lower>().rankUpdate(block);
            part.triangularView<Eigen::Lower>() += product.cast<double>();
        });
    copy_to_upper(gram);
    return gram;
}

/// Whether a Gram matrix in single precision saves time.
bool few_digits_pay(const FeatureView& view) {
    const auto n = static_cast<double>(view.n_rows);
    return n * n * static_cast<double>(view.n_features) >= kManyProducts;
}

/// Whether it is good enough, `mean_square` being the mean of its diagonal; false where that is not finite.
bool few_digits_do(double mean_square, double largest_weight_per_lambda) {
    return mean_square * largest_weight_per_lambda <= kLargestRoughRatio && mean_square < kRoughRange &&
           mean_square > 1.0 / kRoughRange;
}

}  // namespace

ReducedDesign::ReducedDesign(const FeatureView& features, SolverForm form, int n_classes, bool centre,
                             double largest_weight_per_lambda, int n_threads, GramDigits digits)
    : features_(features), n_threads_(n_threads) {
    form_ = form;
    if (form == SolverForm::automatic) {
        const double most = n_classes > 2 ? kGramRowsPerFeatureOfClasses : kGramRowsPerFeature;
        form_ = static_cast<double>(features.n_rows) < most * static_cast<double>(features.n_features)
                    ? SolverForm::gram
                    : SolverForm::primal;
    }
    if (form_ == SolverForm::gram && digits == GramDigits::few && few_digits_pay(features)) {
        MatrixXd gram = rough_gram_matrix(features, centre, n_threads, means_);
        const double sum_of_squares = gram.trace();
        if (few_digits_do(sum_of_squares / static_cast<double>(features.n_rows), largest_weight_per_lambda)) {
            coordinates_ = Coordinates::gram;
            digits_ = GramDigits::few;
            directly_ = can_be_mapped(features) && centred_enough(means_, sum_of_squares / features.n_rows);
            matrix_ = std::make_shared<const MatrixXd>(std::move(gram));
            return;
        }
    }
    const Moments found = moments(features, n_threads);
    means_ = centre ? found.means : VectorXd::Zero(features.n_features);
    directly_ = can_be_mapped(features) && centred_enough(means_, found.variances.sum());
    if (form_ == SolverForm::primal) {
        coordinates_ = Coordinates::primal;
        MatrixXd rows(features.n_rows, features.n_features);
        const Index n_blocks = (features.n_features + kCopiedFeatures - 1) / kCopiedFeatures;
        parallel_for(n_blocks, rows.size() < kThreadedValues ? 1 : n_threads, [&](Index b) {
            const Index first = b * kCopiedFeatures;
            const Index count = std::min<Index>(kCopiedFeatures, features.n_features - first);
            RowMajor block;
            load_block(features, first, count, means_, block);
            rows.middleCols(first, count) = block;
        });
        matrix_ = std::make_shared<const MatrixXd>(std::move(rows));
        return;
    }
    matrix_ = std::make_shared<const MatrixXd>(gram_matrix(features, means_, directly_, n_threads));
    if (!matrix_->allFinite()) {
        throw InputError("features are too large: products of two rows overflow; scale the features first");
    }
    coordinates_ = Coordinates::gram;
    const double largest_square = matrix_->diagonal().maxCoeff();
    if (largest_square * largest_weight_per_lambda <= kLargestGramRatio) return;

    // Next to a tiny penalty the n x n systems lose their digits; without one they are singular. X X' = U S
    // U' gives X = (U S^1/2) V' with V = X' U S^-1/2 orthonormal: primal coordinates in at most n_rows
    // dimensions.
    const Eigen::SelfAdjointEigenSolver<MatrixXd> eigen(*matrix_);
    const VectorXd& values = eigen.eigenvalues();
    const double cutoff = values.cwiseAbs().maxCoeff() * static_cast<double>(features.n_rows) * 1e-14;
    const Index rank = (values.array() > cutoff).count();
    if (rank == 0) {  // all rows equal
        matrix_ = std::make_shared<const MatrixXd>(MatrixXd::Zero(features.n_rows, 1));
        row_basis_ = MatrixXd::Zero(features.n_rows, 1);
        coordinates_ = Coordinates::primal;
        return;
    }
    const MatrixXd vectors = eigen.eigenvectors().rightCols(rank);
    const VectorXd singular = values.tail(rank).cwiseSqrt();
    matrix_ = std::make_shared<const MatrixXd>(vectors * singular.asDiagonal());
    row_basis_ = vectors * singular.cwiseInverse().asDiagonal();
    coordinates_ = Coordinates::primal;
}

DesignRows ReducedDesign::take(std::span<const Index> rows, int n_threads) const {
    DesignRows taken{coordinates_, {}, n_threads, {}, {}};
    const std::vector<Index> at(rows.begin(), rows.end());
    std::vector<Index> all(static_cast<std::size_t>(matrix_->rows()));
    std::iota(all.begin(), all.end(), Index{0});
    if (at == all) {
        taken.storage = matrix_;
    } else if (coordinates_ == Coordinates::gram) {
        taken.storage = std::make_shared<const MatrixXd>((*matrix_)(at, at));
    } else {
        taken.storage = std::make_shared<const MatrixXd>((*matrix_)(at, Eigen::all));
    }
    if (digits_ == GramDigits::few) {
        taken.exact_scores = [this, at](const MatrixXd& coordinates) -> MatrixXd {
            MatrixXd dual = MatrixXd::Zero(features_.n_rows, coordinates.cols());
            dual(at, Eigen::all) = coordinates;
            return scores_of_features(dual)(at, Eigen::all);
        };
    }
    return taken;
}

MatrixXd ReducedDesign::scores_of_features(const MatrixXd& dual) const {
    const Eigen::RowVectorXd sums = dual.colwise().sum();
    return sum_of_blocks(features_, dual.cols(), n_threads_, [&](Index first, Index count, MatrixXd& scores) {
        MatrixXd coefficients(count, dual.cols()), own(scores.rows(), scores.cols());
        if (directly_) {
            const auto block = mapped(features_).middleCols(first, count);
            const auto means = means_.segment(first, count);
            multiply(block.transpose(), dual, coefficients);
            coefficients.noalias() -= means * sums;
            multiply(block, coefficients, own);
            scores += own.rowwise() - means.transpose() * coefficients;
            return;
        }
        RowMajor block;
        load_block(features_, first, count, means_, block);
        multiply(block.transpose(), dual, coefficients);
        multiply(block, coefficients, own);
        scores += own;
    });
}

MatrixXd ReducedDesign::scores(std::span<const Index> test, std::span<const Index> train,
                               const MatrixXd& coordinates) const {
    const std::vector<Index> to(test.begin(), test.end());
    if (coordinates_ == Coordinates::primal) return (*matrix_)(to, Eigen::all) * coordinates;
    const std::vector<Index> from(train.begin(), train.end());
    const MatrixXd cross = (*matrix_)(to, from);
    return cross * coordinates;
}

MatrixXd ReducedDesign::coefficients(std::span<const Index> train, const MatrixXd& coordinates) const {
    if (coordinates_ == Coordinates::primal && row_basis_.size() == 0 && form_ == SolverForm::primal) {
        return coordinates;
    }
    MatrixXd dual = MatrixXd::Zero(features_.n_rows, coordinates.cols());
    if (coordinates_ == Coordinates::gram) {
        for (std::size_t i = 0; i < train.size(); ++i) {
            dual.row(train[i]) = coordinates.row(static_cast<Index>(i));
        }
    } else {
        dual = row_basis_ * coordinates;
    }
    MatrixXd result(features_.n_features, coordinates.cols());
    const Index n_blocks = (features_.n_features + kFeatureBlock - 1) / kFeatureBlock;
    const VectorXd sums = dual.colwise().sum().transpose();
    const bool small = features_.n_rows * features_.n_features < kThreadedValues;
    parallel_for(n_blocks, small ? 1 : n_threads_, [&](Index b) {
        const Index first = b * kFeatureBlock;
        const Index count = std::min<Index>(kFeatureBlock, features_.n_features - first);
        auto part = result.middleRows(first, count);
        if (directly_) {
            multiply(mapped(features_).middleCols(first, count).transpose(), dual, part);
            part.noalias() -= means_.segment(first, count) * sums.transpose();
            return;
        }
        RowMajor block;
        load_block(features_, first, count, means_, block);
        multiply(block.transpose(), dual, part);
    });
    return result;
}

}  // namespace fastplr::solver
