// Jobs on several threads: each is done once, by one thread a lane, and whatever is thrown ends all of them.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "check.hpp"
#include "embedding/side_by_side.hpp"

using fastplr::side_by_side;

namespace {

using fastplr::IsStopped;

const std::size_t n_forks = 0;
const fastplr::ForkWatch kNotForked(n_forks);

void nothing(std::size_t) {}

// What `call` throws, "" where it throws nothing.
std::string thrown_by(const std::function<void()>& call) {
    try {
        call();
    } catch (const std::exception& error) {
        return error.what();
    }
    return "";
}

}  // namespace

TEST_CASE("every job is done and told once, on the thread of the caller") {
    for (const std::size_t n_lanes : {1, 2, 5}) {
        for (const std::size_t n_jobs : {0, 1, 4, 100}) {
            std::vector<std::atomic<int>> done(n_jobs);
            std::vector<std::atomic<int>> on_lane(n_lanes);
            std::atomic<bool> alone = true;
            std::vector<int> told(n_jobs);
            const auto caller = std::this_thread::get_id();
            side_by_side(
                n_lanes, n_jobs,
                [&](std::size_t lane, std::size_t job, const IsStopped&) {
                    if (++on_lane[lane] > 1) alone = false;
                    ++done[job];
                    --on_lane[lane];
                },
                [&](std::size_t job) {
                    CHECK(std::this_thread::get_id() == caller);
                    CHECK(done[job] == 1);
                    ++told[job];
                },
                {}, kNotForked);
            CHECK(alone);
            for (std::size_t job = 0; job < n_jobs; ++job) CHECK(done[job] == 1 && told[job] == 1);
        }
    }
}

TEST_CASE("lanes work at the same time") {
    std::atomic<int> n_inside = 0;
    side_by_side(
        2, 2,
        [&](std::size_t, std::size_t, const IsStopped&) {
            ++n_inside;
            while (n_inside < 2) std::this_thread::yield();  // for ever, if the other one waited for this one
        },
        nothing, {}, kNotForked);
    CHECK(n_inside == 2);
}

TEST_CASE("an error ends all lanes, once what is done was told") {
    for (const std::size_t n_lanes : {1, 3}) {
        std::atomic<int> n_begun = 0;
        std::atomic<int> n_done = 0;
        int n_told = 0;
        const auto run = [&] {
            side_by_side(
                n_lanes, 1000,
                [&](std::size_t, std::size_t job, const IsStopped&) {
                    ++n_begun;
                    if (job == 5) throw std::runtime_error("job 5");
                    if (job > 5) std::this_thread::sleep_for(std::chrono::milliseconds(1));
                    ++n_done;
                },
                [&](std::size_t) { ++n_told; }, {}, kNotForked);
        };
        CHECK(thrown_by(run) == "job 5");
        CHECK(n_begun < 1000);
        CHECK(n_told == n_done);
    }
}

TEST_CASE("what a callback throws reaches lanes in the middle of a job") {
    for (const bool in_step : {false, true}) {
        std::atomic<int> n_stopped = 0;
        std::atomic<int> n_begun = 0;
        const auto fail = [] { throw std::runtime_error("enough"); };
        const auto run = [&] {
            side_by_side(
                2, 100,
                [&](std::size_t, std::size_t job, const IsStopped& is_stopped) {
                    ++n_begun;
                    while (n_begun < 2) std::this_thread::yield();
                    if (job == 0 && !in_step) return;
                    while (!is_stopped()) std::this_thread::yield();
                    ++n_stopped;
                    throw fastplr::Stopped{};
                },
                [&](std::size_t) { fail(); }, in_step ? std::function<void()>(fail) : nullptr, kNotForked);
        };
        CHECK(thrown_by(run) == "enough");
        CHECK(n_stopped >= 1);
    }
}

TEST_CASE("a lane goes on when the caller was told of its job, and does not wait for the others") {
    for (const std::size_t n_lanes : {2, 4}) {
        std::atomic<std::size_t> n_done = 0;
        std::size_t n_told = 0;
        std::size_t most_untold = 0;
        side_by_side(
            n_lanes, 40, [&](std::size_t, std::size_t, const IsStopped&) { ++n_done; },
            [&](std::size_t) {
                std::this_thread::sleep_for(std::chrono::milliseconds(1));
                most_untold = std::max(most_untold, n_done - n_told);
                ++n_told;
            },
            {}, kNotForked);
        CHECK(n_told == 40);
        CHECK(most_untold <= n_lanes);
    }
}

TEST_CASE("the caller is called while lanes work") {
    std::atomic<int> n_steps = 0;
    side_by_side(
        2, 2,
        [&](std::size_t, std::size_t, const IsStopped&) {
            while (n_steps < 3) std::this_thread::sleep_for(std::chrono::milliseconds(1));
        },
        nothing, [&] { ++n_steps; }, kNotForked);
    CHECK(n_steps >= 3);
}
