#include "reduced_design.hpp"

#include <Eigen/Eigenvalues>
#include <algorithm>
#include <cmath>
#include <string>

#include "fastplr/errors.hpp"
#include "parallel.hpp"

namespace fastplr::solver {
namespace {

/// Features widened at a time: small enough to stay in cache with 1,000 rows, large enough for the product to
/// be fast.
constexpr Index kFeatureBlock = 256;
/// Gram form divides by lambda what it computed from numbers this much larger: 7 digits are left at worst.
constexpr double kLargestGramRatio = 1e9;

double feature(const FeatureView& view, Index row, Index column) {
    const std::ptrdiff_t at = row * view.row_stride + column * view.feature_stride;
    return view.type == FeatureType::float64 ? static_cast<const double*>(view.data)[at]
                                             : static_cast<double>(static_cast<const float*>(view.data)[at]);
}

template <typename Scalar>
void copy_block(const FeatureView& view, Index first, Index count, Eigen::Ref<MatrixXd> block) {
    const auto* data = static_cast<const Scalar*>(view.data) + first * view.feature_stride;
    // Strips of rows: the lines of a row-major source stay in cache while the strip is written column by
    // column.
    constexpr Index kStrip = 64;
    for (Index strip = 0; strip < view.n_rows; strip += kStrip) {
        const Index end = std::min<Index>(strip + kStrip, view.n_rows);
        for (Index column = 0; column < count; ++column) {
            const Scalar* source = data + column * view.feature_stride;
            for (Index row = strip; row < end; ++row) {
                block(row, column) = static_cast<double>(source[row * view.row_stride]);
            }
        }
    }
}

/// Features first .. first+count-1 of all rows, in float64, less their means.
void load_block(const FeatureView& view, Index first, Index count, const VectorXd& means,
                Eigen::Ref<MatrixXd> block) {
    if (view.type == FeatureType::float64) {
        copy_block<double>(view, first, count, block);
    } else {
        copy_block<float>(view, first, count, block);
    }
    block.rowwise() -= means.segment(first, count).transpose();
}

[[noreturn]] void throw_not_finite(const FeatureView& view, Index column) {
    for (Index row = 0; row < view.n_rows; ++row) {
        const double value = feature(view, row, column);
        if (!std::isfinite(value)) {
            throw InputError("feature " + std::to_string(column) + " of row " + std::to_string(row) + " is " +
                             std::to_string(value) + ": features must be finite");
        }
    }
    throw InputError("feature " + std::to_string(column) +
                     " is too large: its sum over the rows overflows; scale the features first");
}

VectorXd finite_means(const FeatureView& view) {
    VectorXd means = VectorXd::Zero(view.n_features);
    MatrixXd block(view.n_rows, std::min<Index>(kFeatureBlock, view.n_features));
    for (Index first = 0; first < view.n_features; first += kFeatureBlock) {
        const Index count = std::min(kFeatureBlock, view.n_features - first);
        auto part = block.leftCols(count);
        load_block(view, first, count, means, part);
        const VectorXd mean = part.colwise().mean().transpose();
        // x - x is NaN for NaN and inf alone, so one sum tells whether a column is finite.
        const VectorXd largest = part.cwiseAbs().colwise().sum().transpose();
        for (Index j = 0; j < count; ++j) {
            if (!std::isfinite(largest[j])) throw_not_finite(view, first + j);
        }
        means.segment(first, count) = mean;
    }
    return means;
}

/// X X' of the centred features. Threads share the features out and add up their parts.
MatrixXd gram_matrix(const FeatureView& view, const VectorXd& means, int n_threads) {
    const Index n_blocks = (view.n_features + kFeatureBlock - 1) / kFeatureBlock;
    const Index n_parts = std::max<Index>(1, std::min<Index>(n_threads, n_blocks));
    std::vector<MatrixXd> parts(static_cast<std::size_t>(n_parts));
    parallel_for(n_parts, n_threads, [&](Index part) {
        MatrixXd& gram = parts[static_cast<std::size_t>(part)];
        gram = MatrixXd::Zero(view.n_rows, view.n_rows);
        MatrixXd block(view.n_rows, std::min<Index>(kFeatureBlock, view.n_features));
        for (Index b = part; b < n_blocks; b += n_parts) {
            const Index first = b * kFeatureBlock;
            const Index count = std::min(kFeatureBlock, view.n_features - first);
            load_block(view, first, count, means, block.leftCols(count));
            gram.selfadjointView<Eigen::Lower>().rankUpdate(block.leftCols(count));
        }
    });
    for (Index part = 1; part < n_parts; ++part) parts[0] += parts[static_cast<std::size_t>(part)];
    MatrixXd gram = std::move(parts[0]);
    gram.triangularView<Eigen::StrictlyUpper>() = gram.transpose();
    return gram;
}

}  // namespace

ReducedDesign::ReducedDesign(const FeatureView& features, SolverForm form, bool centre,
                             double largest_weight_per_lambda, int n_threads)
    : features_(features), n_threads_(n_threads) {
    means_ = finite_means(features);
    if (!centre) means_.setZero();
    form_ = form;
    if (form == SolverForm::automatic) {
        form_ = features.n_rows < features.n_features ? SolverForm::gram : SolverForm::primal;
    }
    if (form_ == SolverForm::primal) {
        coordinates_ = Coordinates::primal;
        matrix_.resize(features.n_rows, features.n_features);
        for (Index first = 0; first < features.n_features; first += kFeatureBlock) {
            const Index count = std::min<Index>(kFeatureBlock, features.n_features - first);
            load_block(features, first, count, means_, matrix_.middleCols(first, count));
        }
        return;
    }
    matrix_ = gram_matrix(features, means_, n_threads);
    if (!matrix_.allFinite()) {
        throw InputError("features are too large: products of two rows overflow; scale the features first");
    }
    coordinates_ = Coordinates::gram;
    const double largest_square = matrix_.diagonal().maxCoeff();
    if (largest_square * largest_weight_per_lambda <= kLargestGramRatio) return;

    // Next to a tiny penalty the n x n systems lose their digits; without one they are singular. X X' = U S
    // U' gives X = (U S^1/2) V' with V = X' U S^-1/2 orthonormal: primal coordinates in at most n_rows
    // dimensions.
    const Eigen::SelfAdjointEigenSolver<MatrixXd> eigen(matrix_);
    const VectorXd& values = eigen.eigenvalues();
    const double cutoff = values.cwiseAbs().maxCoeff() * static_cast<double>(features.n_rows) * 1e-14;
    const Index rank = (values.array() > cutoff).count();
    if (rank == 0) {  // all rows equal
        matrix_ = MatrixXd::Zero(features.n_rows, 1);
        row_basis_ = MatrixXd::Zero(features.n_rows, 1);
        coordinates_ = Coordinates::primal;
        return;
    }
    const MatrixXd vectors = eigen.eigenvectors().rightCols(rank);
    const VectorXd singular = values.tail(rank).cwiseSqrt();
    matrix_ = vectors * singular.asDiagonal();
    row_basis_ = vectors * singular.cwiseInverse().asDiagonal();
    coordinates_ = Coordinates::primal;
}

DesignRows ReducedDesign::take(std::span<const Index> rows) const {
    DesignRows taken{coordinates_, {}};
    const std::vector<Index> at(rows.begin(), rows.end());
    if (coordinates_ == Coordinates::gram) {
        taken.matrix = matrix_(at, at);
    } else {
        taken.matrix = matrix_(at, Eigen::all);
    }
    return taken;
}

MatrixXd ReducedDesign::scores(std::span<const Index> test, std::span<const Index> train,
                               const MatrixXd& coordinates) const {
    const std::vector<Index> to(test.begin(), test.end());
    if (coordinates_ == Coordinates::primal) return matrix_(to, Eigen::all) * coordinates;
    const std::vector<Index> from(train.begin(), train.end());
    const MatrixXd cross = matrix_(to, from);
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
    parallel_for(n_blocks, n_threads_, [&](Index b) {
        const Index first = b * kFeatureBlock;
        const Index count = std::min<Index>(kFeatureBlock, features_.n_features - first);
        MatrixXd block(features_.n_rows, count);
        load_block(features_, first, count, means_, block);
        result.middleRows(first, count).noalias() = block.transpose() * dual;
    });
    return result;
}

}  // namespace fastplr::solver
