// The linear surrogate from all coalitions and from samples, for games whose slopes are known.
#include <Eigen/Core>
#include <Eigen/LU>
#include <algorithm>
#include <bit>
#include <cmath>
#include <random>
#include <set>

#include "check.hpp"
#include "explain/surrogate.hpp"

using Eigen::Index;
using Eigen::MatrixXd;
using Eigen::RowVectorXd;
using Eigen::VectorXd;
using fastplr::Coalition;

namespace {

std::size_t n_kept(const Coalition& kept) {
    return static_cast<std::size_t>(std::count(kept.begin(), kept.end(), true));
}

template <typename Game>
fastplr::SurrogateValues surrogate(std::size_t n, std::size_t budget, std::uint64_t seed, Game game) {
    const auto sample = fastplr::sample_removals(n, budget, seed);
    MatrixXd told(static_cast<Index>(sample.coalitions.size()), 1);
    for (std::size_t c = 0; c < sample.coalitions.size(); ++c)
        told(static_cast<Index>(c), 0) = game(sample.coalitions[c]);
    return fastplr::surrogate_values(sample, told, RowVectorXd::Constant(1, game(Coalition(n, true))),
                                     MatrixXd::Zero(static_cast<Index>(n), 1));
}

double twisted(const Coalition& kept) {
    double value = kept[0] && kept[3] ? 2.0 : 0.0;
    for (std::size_t i = 0; i < kept.size(); ++i) value += kept[i] ? 1.0 / static_cast<double>(i + 1) : 0.0;
    const auto size = static_cast<double>(n_kept(kept));
    return value + 0.02 * size * size;
}

}  // namespace

TEST_CASE(
    "a sample of removals has each coalition once, within the budget, spans in turns and sizes as said") {
    for (const std::size_t n : {1, 2, 3, 5, 6, 7, 12, 40, 300}) {
        for (const std::size_t budget : {1, 2, 7, 30, 62, 200}) {
            const auto sample = fastplr::sample_removals(n, budget, 1);
            CHECK(sample.coalitions.size() <= budget);
            CHECK(sample.weights.size() == sample.coalitions.size());
            const std::set<Coalition> distinct(sample.coalitions.begin(), sample.coalitions.end());
            CHECK(distinct.size() == sample.coalitions.size());
            double sum = 0.0;
            for (const double weight : sample.weights) sum += weight;
            CHECK(std::abs(sum - static_cast<double>(sample.weights.size())) < 1e-9 * (1 + sum));
            for (const Coalition& kept : sample.coalitions)
                CHECK(n_kept(kept) < n && (n == 1 || n_kept(kept) > 0));
            if (n < 12) CHECK(sample.all == ((std::size_t{1} << n) - 2 <= budget));
            if (n < 12) continue;
            CHECK(sample.coalitions.size() == budget);
            std::vector<std::size_t> removed(n, 0);
            double mean = 0.0;
            for (std::size_t c = 0; c < budget; ++c) {
                const Coalition& kept = sample.coalitions[c];
                for (std::size_t i = 0; i < n; ++i) removed[i] += kept[i] ? 0 : 1;
                mean += sample.weights[c] * static_cast<double>(n_kept(kept)) / static_cast<double>(budget);
            }
            const auto [least, most] = std::minmax_element(removed.begin(), removed.end());
            CHECK(*most - *least <= 2 + budget / 20);
            double cubes = 0.0;
            double squares = 0.0;
            for (std::size_t size = 1; size < n; ++size) {
                cubes += std::pow(static_cast<double>(size), 3);
                squares += std::pow(static_cast<double>(size), 2);
            }
            if (budget >= 30) CHECK(std::abs(mean - cubes / squares) < 0.03 * static_cast<double>(n));
        }
    }
    CHECK(fastplr::sample_removals(40, 20, 1).coalitions == fastplr::sample_removals(40, 20, 1).coalitions);
    CHECK(fastplr::sample_removals(40, 20, 1).coalitions != fastplr::sample_removals(40, 20, 2).coalitions);
}

TEST_CASE("of all coalitions the slopes are those of weighted least squares") {
    const std::size_t n = 5;
    const auto found = surrogate(n, 30, 0, twisted);
    CHECK(found.standard_errors.size() == 0);
    // From the definition, row by row: sizes have the distribution s^2, noise a variance in proportion to the
    // removed.
    MatrixXd normal = MatrixXd::Zero(5, 5);
    VectorXd right = VectorXd::Zero(5);
    const double of_size[] = {0, 1.0 / 5, 4.0 / 10, 9.0 / 10, 16.0 / 5};
    for (std::size_t bits = 1; bits < 31; ++bits) {
        Coalition kept(n);
        VectorXd removed(5);
        for (std::size_t i = 0; i < n; ++i) {
            kept[i] = (bits >> i & 1U) != 0;
            removed[static_cast<Index>(i)] = kept[i] ? 0 : 1;
        }
        const double weight = of_size[n_kept(kept)] / removed.sum();
        normal += weight * removed * removed.transpose();
        right += weight * (twisted(Coalition(n, true)) - twisted(kept)) * removed;
    }
    CHECK((found.values.col(0) - normal.inverse() * right).norm() < 1e-10);
}

TEST_CASE("a single span has what its removal does") {
    const auto found = surrogate(1, 1, 0, [](const Coalition& kept) { return kept[0] ? 3.0 : 0.5; });
    CHECK(std::abs(found.values(0, 0) - 2.5) < 1e-12);
}

TEST_CASE("a sum is found from fewer coalitions than there are") {
    const auto found = surrogate(12, 40, 0, [](const Coalition& kept) {
        double value = 3.0;
        for (std::size_t i = 0; i < kept.size(); ++i)
            value += kept[i] ? 0.5 * static_cast<double>(i) - 2.0 : 0.0;
        return value;
    });
    for (Index i = 0; i < 12; ++i)
        CHECK(std::abs(found.values(i, 0) - (0.5 * static_cast<double>(i) - 2.0)) < 1e-4);
}

TEST_CASE(
    "estimates come nearer to the slopes of all coalitions with the budget, and stay near a good prior") {
    const MatrixXd want = surrogate(8, 254, 0, twisted).values;
    const auto error = [&](std::size_t budget) {
        double sum = 0.0;
        for (std::uint64_t seed = 0; seed < 10; ++seed)
            sum += (surrogate(8, budget, seed, twisted).values - want).norm();
        return sum / 10;
    };
    CHECK(error(200) < 0.5 * error(20));
    CHECK(error(200) < 0.1 * want.norm());
    const auto few = fastplr::sample_removals(8, 2, 0);
    MatrixXd told(2, 1);
    for (Index c = 0; c < 2; ++c) told(c, 0) = twisted(few.coalitions[static_cast<std::size_t>(c)]);
    const RowVectorXd all = RowVectorXd::Constant(1, twisted(Coalition(8, true)));
    const MatrixXd guided = fastplr::surrogate_values(few, told, all, want).values;
    const MatrixXd blind = fastplr::surrogate_values(few, told, all, MatrixXd::Zero(8, 1)).values;
    CHECK((guided - want).norm() < 0.5 * (blind - want).norm());
}

TEST_CASE("standard errors cover what they say where removals add up but for noise") {
    std::mt19937_64 random(5);
    std::normal_distribution<double> normal;
    int inside = 0;
    int total = 0;
    for (int trial = 0; trial < 60; ++trial) {
        std::vector<double> own(20);
        for (double& value : own) value = normal(random);
        const auto found = surrogate(20, 60, static_cast<std::uint64_t>(trial), [&](const Coalition& kept) {
            double value = 0.0;
            for (std::size_t i = 0; i < own.size(); ++i) value += kept[i] ? own[i] : 0.0;
            return value + 0.5 * std::sqrt(static_cast<double>(20 - n_kept(kept))) * normal(random);
        });
        for (Index i = 0; i < 20; ++i) {
            const double error = std::abs(found.values(i, 0) - own[static_cast<std::size_t>(i)]);
            inside += error <= 2 * found.standard_errors(i, 0) ? 1 : 0;
            ++total;
        }
    }
    CHECK(inside > total * 90 / 100);
    CHECK(inside < total * 995 / 1000);
}
