#include "embedding/side_by_side.hpp"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "model/llama_log.hpp"

namespace fastplr {
namespace {

constexpr std::chrono::milliseconds kBetweenSteps{50};
constexpr std::size_t kThreadNeeds = 32768;  // bytes, much more than its thread-local data

// What the lanes and their caller share.
struct Jobs {
    std::mutex mutex;
    std::condition_variable changed;  // for the caller
    std::condition_variable told;     // for lanes
    std::size_t n_jobs = 0;
    std::size_t next = 0;
    std::size_t n_running = 0;  ///< lanes
    std::size_t n_started = 0;
    bool all_started = false;
    std::unique_ptr<char[]> reserve;  ///< for the thread that is just starting
    std::atomic<bool> stop = false;
    std::deque<std::size_t> finished;       ///< not yet told
    std::vector<std::size_t> last_of_lane;  ///< jobs that lanes wait to be told of; n_jobs for none
    std::exception_ptr error;

    void run_lane(std::size_t lane, const LaneWork& work) {
        // The C library ends the process where memory for these cannot be had on first use: here it can.
        reserve.reset();
        std::make_unique<NativeGuard>().reset();
        [[maybe_unused]] volatile int touched = std::uncaught_exceptions();
        const auto is_stopped = [this] { return stop.load(std::memory_order_relaxed); };
        std::unique_lock lock(mutex);
        ++n_started;
        changed.notify_one();
        told.wait(lock, [&] { return stop || all_started; });
        while (!stop && next < n_jobs) {
            const std::size_t job = next++;
            lock.unlock();
            std::exception_ptr failure;
            try {
                work(lane, job, is_stopped);
            } catch (...) {
                failure = std::current_exception();
            }
            lock.lock();
            keep(lane, job, failure);
            changed.notify_one();
            told.wait(lock, [&] { return stop || last_of_lane[lane] == n_jobs; });
        }
        --n_running;
        changed.notify_one();
    }

    // With the lock held. Of a lane that only heeded the others' stop there is nothing to say.
    void keep(std::size_t lane, std::size_t job, std::exception_ptr failure) {
        try {
            if (failure) std::rethrow_exception(failure);
            last_of_lane[lane] = job;
            finished.push_back(job);
        } catch (const Stopped&) {
        } catch (...) {
            if (!error) error = std::current_exception();
        }
        if (error) {
            stop = true;
            told.notify_all();
        }
    }
};

class Lanes {
  public:
    Lanes(std::size_t n_lanes, std::size_t n_jobs, const LaneWork& work, const ForkWatch& fork_watch)
        : jobs_(std::make_unique<Jobs>()),
          threads_(std::make_unique<std::vector<std::thread>>()),
          fork_watch_(fork_watch) {
        jobs_->n_jobs = n_jobs;
        jobs_->last_of_lane.assign(n_lanes, n_jobs);
        threads_->reserve(n_lanes);
        for (std::size_t lane = 0; lane < n_lanes; ++lane) {
            if (!start(lane, work)) break;  // those that were started do all the work
        }
        const std::lock_guard lock(jobs_->mutex);
        jobs_->all_started = true;
        jobs_->told.notify_all();
    }
    Lanes(const Lanes&) = delete;
    Lanes& operator=(const Lanes&) = delete;

    ~Lanes() {
        if (fork_watch_.forked()) {  // in the child nobody runs, whatever the lock and the threads look like
            (void)jobs_.release();
            (void)threads_.release();
            return;
        }
        {
            const std::lock_guard lock(jobs_->mutex);
            jobs_->stop = true;
        }
        jobs_->told.notify_all();
        for (std::thread& thread : *threads_) thread.join();
    }

    bool none() const { return threads_->empty(); }

    // Until every lane has ended and all that is done was told. No callback is called with the lock held: it
    // may fork, and the child then does not come back here.
    void wait(const std::function<void(std::size_t)>& on_finished, const std::function<void()>& on_step) {
        auto stepped = std::chrono::steady_clock::now();
        std::unique_lock lock(jobs_->mutex);
        while (!jobs_->finished.empty() || jobs_->n_running > 0) {
            if (!jobs_->finished.empty()) {
                const std::size_t job = jobs_->finished.front();
                jobs_->finished.pop_front();
                lock.unlock();
                on_finished(job);
                lock.lock();
                for (std::size_t& last : jobs_->last_of_lane) {
                    if (last == job) last = jobs_->n_jobs;
                }
                jobs_->told.notify_all();
            } else {
                jobs_->changed.wait_until(lock, stepped + kBetweenSteps);
            }
            if (std::chrono::steady_clock::now() < stepped + kBetweenSteps) continue;
            lock.unlock();
            if (on_step) on_step();
            lock.lock();
            stepped = std::chrono::steady_clock::now();
        }
        if (jobs_->error) std::rethrow_exception(jobs_->error);
    }

  private:
    // False where there is no thread to be had, or no memory for what it needs of its own.
    bool start(std::size_t lane, const LaneWork& work) {
        std::unique_lock lock(jobs_->mutex);
        try {
            jobs_->reserve = std::make_unique<char[]>(kThreadNeeds);
            threads_->emplace_back([jobs = jobs_.get(), lane, &work] { jobs->run_lane(lane, work); });
        } catch (const std::exception&) {
            return false;
        }
        ++jobs_->n_running;
        jobs_->changed.wait(lock, [&] { return jobs_->n_started == threads_->size(); });
        return true;
    }

    std::unique_ptr<Jobs> jobs_;
    std::unique_ptr<std::vector<std::thread>> threads_;
    ForkWatch fork_watch_;
};

}  // namespace

void side_by_side(std::size_t n_lanes, std::size_t n_jobs, const LaneWork& work,
                  const std::function<void(std::size_t)>& on_finished, const std::function<void()>& on_step,
                  const ForkWatch& fork_watch) {
    Lanes lanes(n_lanes, n_jobs, work, fork_watch);
    if (!lanes.none()) {
        lanes.wait(on_finished, on_step);
        return;
    }
    for (std::size_t job = 0; job < n_jobs; ++job) {
        if (on_step) on_step();
        work(0, job, [] { return false; });
        on_finished(job);
    }
}

}  // namespace fastplr
