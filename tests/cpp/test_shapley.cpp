// Shapley values from all coalitions and from samples, for games whose values are known.
#include <Eigen/Core>
#include <algorithm>
#include <random>
#include <set>

#include "check.hpp"
#include "explain/shapley.hpp"
#include "explain/variants.hpp"

using Eigen::Index;
using Eigen::MatrixXd;
using Eigen::RowVectorXd;
using fastplr::Coalition;

namespace {

double number_of(const Coalition& kept) {
    return static_cast<double>(std::count(kept.begin(), kept.end(), true));
}

/// One column of the values of coalitions.
template <typename Game>
MatrixXd values_of(const std::vector<Coalition>& coalitions, Game game) {
    MatrixXd values(static_cast<Index>(coalitions.size()), 1);
    for (std::size_t c = 0; c < coalitions.size(); ++c)
        values(static_cast<Index>(c), 0) = game(coalitions[c]);
    return values;
}

template <typename Game>
MatrixXd exact(std::size_t n, Game game) {
    MatrixXd of_coalition(Index{1} << n, 1);
    for (std::size_t bits = 0; bits < std::size_t{1} << n; ++bits) {
        Coalition kept(n);
        for (std::size_t i = 0; i < n; ++i) kept[i] = (bits >> i & 1U) != 0;
        of_coalition(static_cast<Index>(bits), 0) = game(kept);
    }
    return fastplr::exact_shapley_values(of_coalition);
}

template <typename Game>
fastplr::ShapleyValues estimate(std::size_t n, std::size_t budget, std::uint64_t seed, Game game) {
    const auto sample = fastplr::sample_coalitions(n, budget, seed);
    const RowVectorXd none = RowVectorXd::Constant(1, game(Coalition(n, false)));
    const RowVectorXd all = RowVectorXd::Constant(1, game(Coalition(n, true)));
    return fastplr::estimate_shapley_values(sample, values_of(sample.coalitions, game), none, all,
                                            MatrixXd::Zero(static_cast<Index>(n), 1));
}

}  // namespace

TEST_CASE("the glove game") {
    // Two left gloves and a right one: the pair is worth 1.
    const MatrixXd values =
        exact(3, [](const Coalition& kept) { return (kept[0] || kept[1]) && kept[2] ? 1.0 : 0.0; });
    CHECK(std::abs(values(0, 0) - 1.0 / 6) < 1e-12);
    CHECK(std::abs(values(1, 0) - 1.0 / 6) < 1e-12);
    CHECK(std::abs(values(2, 0) - 4.0 / 6) < 1e-12);
}

TEST_CASE("a sample has each coalition once, with its complement, within the budget, and balanced weights") {
    for (const std::size_t n : {1, 2, 3, 5, 6, 7, 12, 40, 300}) {
        for (const std::size_t budget : {0, 1, 2, 7, 30, 62, 200}) {
            const auto sample = fastplr::sample_coalitions(n, budget, 1);
            CHECK(sample.coalitions.size() <= budget);
            CHECK(sample.weights.size() == sample.coalitions.size());
            const std::set<Coalition> distinct(sample.coalitions.begin(), sample.coalitions.end());
            CHECK(distinct.size() == sample.coalitions.size());
            double sum = 0.0;
            for (std::size_t c = 0; c < sample.coalitions.size(); ++c) {
                Coalition rest = sample.coalitions[c];
                CHECK(number_of(rest) > 0 && number_of(rest) < static_cast<double>(n));
                rest.flip();
                CHECK(distinct.count(rest) == 1);
                CHECK(sample.weights[c] > 0);
                sum += sample.weights[c];
            }
            CHECK(std::abs(sum - static_cast<double>(sample.weights.size())) < 1e-9 * (1 + sum));
            if (n > 12) CHECK(sample.coalitions.size() == budget / 2 * 2);
        }
    }
}

TEST_CASE("a sum is found whatever the budget") {
    const auto game = [](const Coalition& kept) {
        double value = 3.0;
        for (std::size_t i = 0; i < kept.size(); ++i)
            value += kept[i] ? 0.5 * static_cast<double>(i) - 2.0 : 0.0;
        return value;
    };
    const auto found = estimate(10, 40, 0, game);
    for (Index i = 0; i < 10; ++i)
        CHECK(std::abs(found.values(i, 0) - (0.5 * static_cast<double>(i) - 2.0)) < 1e-5);
}

TEST_CASE("nearly all coalitions give nearly the exact values") {
    const auto game = [](const Coalition& kept) {
        double value = kept[0] && kept[3] ? 2.0 : 0.0;
        for (std::size_t i = 0; i < kept.size(); ++i)
            value += kept[i] ? 1.0 / static_cast<double>(i + 1) : 0.0;
        return value + 0.01 * number_of(kept) * number_of(kept);
    };
    const MatrixXd want = exact(8, game);
    const auto few = estimate(8, 20, 0, game);
    const auto many = estimate(8, 250, 0, game);
    CHECK((many.values - want).norm() < 0.02 * want.norm());
    CHECK((many.values - want).norm() < (few.values - want).norm());
}

TEST_CASE("standard errors cover what they say where values are a sum and noise") {
    std::mt19937_64 random(5);
    std::normal_distribution<double> normal;
    int inside = 0;
    int total = 0;
    for (int trial = 0; trial < 60; ++trial) {
        std::vector<double> own(20);
        double sum = 0.0;
        for (double& value : own) sum += value = normal(random);
        const auto game = [&](const Coalition& kept) {
            double value = 0.0;
            for (std::size_t i = 0; i < own.size(); ++i) value += kept[i] ? own[i] : 0.0;
            const bool end = number_of(kept) == 0 || number_of(kept) == 20;
            return value + (end ? 0.0 : normal(random));
        };
        const auto found = estimate(20, 60, static_cast<std::uint64_t>(trial), game);
        for (Index i = 0; i < 20; ++i) {
            const double error = std::abs(found.values(i, 0) - own[static_cast<std::size_t>(i)]);
            inside += error <= 2 * found.standard_errors(i, 0) ? 1 : 0;
            ++total;
        }
    }
    CHECK(inside > total * 90 / 100);
    CHECK(inside < total * 995 / 1000);
}
