#include "embedding/side_by_side.hpp"

#include <chrono>
#include <condition_variable>
#include <deque>
#include <exception>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "fastplr/errors.hpp"

namespace fastplr {
namespace {

constexpr std::chrono::milliseconds kBetweenSteps{50};

struct Stopped {};

// What the lanes and their caller share.
struct Jobs {
    std::mutex mutex;
    std::condition_variable changed;
    std::size_t n_jobs = 0;
    std::size_t next = 0;
    std::size_t n_running = 0;  ///< lanes
    bool stop = false;
    std::deque<std::size_t> finished;  ///< not yet told
    std::exception_ptr error;

    void fail(std::exception_ptr why) {
        const std::lock_guard lock(mutex);
        stop = true;
        if (!error) error = std::move(why);
    }

    void run_lane(std::size_t lane, const LaneWork& work) {
        const auto on_step = [this] {
            const std::lock_guard lock(mutex);
            if (stop) throw Stopped{};
        };
        std::unique_lock lock(mutex);
        while (!stop && next < n_jobs) {
            const std::size_t job = next++;
            lock.unlock();
            try {
                work(lane, job, on_step);
                lock.lock();
                finished.push_back(job);
            } catch (const Stopped&) {
                lock.lock();
            } catch (...) {
                if (lock.owns_lock()) lock.unlock();
                fail(std::current_exception());
                lock.lock();
            }
            changed.notify_one();
        }
        --n_running;
        changed.notify_one();
    }
};

class Lanes {
  public:
    Lanes(std::size_t n_lanes, std::size_t n_jobs, const LaneWork& work, const bool& forked)
        : jobs_(std::make_unique<Jobs>()),
          threads_(std::make_unique<std::vector<std::thread>>()),
          forked_(forked) {
        jobs_->n_jobs = n_jobs;
        threads_->reserve(n_lanes);
        for (std::size_t lane = 0; lane < n_lanes; ++lane) {
            {
                const std::lock_guard lock(jobs_->mutex);
                ++jobs_->n_running;
            }
            try {
                threads_->emplace_back([jobs = jobs_.get(), lane, &work] { jobs->run_lane(lane, work); });
            } catch (const std::exception& error) {  // no thread, or no memory for it
                const std::lock_guard lock(jobs_->mutex);
                --jobs_->n_running;
                if (lane > 0) return;  // those that were started do all the work
                throw ContextMemoryError(std::string("a thread could not be started: ") + error.what());
            }
        }
    }
    Lanes(const Lanes&) = delete;
    Lanes& operator=(const Lanes&) = delete;

    ~Lanes() {
        if (forked_) {  // in the child nobody runs, whatever the lock and the threads look like
            (void)jobs_.release();
            (void)threads_.release();
            return;
        }
        {
            const std::lock_guard lock(jobs_->mutex);
            jobs_->stop = true;
        }
        for (std::thread& thread : *threads_) thread.join();
    }

    // Until every lane has ended and all that is done was told. No callback is called with the lock held: it
    // may fork.
    void wait(const std::function<void(std::size_t)>& on_finished, const std::function<void()>& on_step) {
        std::unique_lock lock(jobs_->mutex);
        while (!jobs_->finished.empty() || jobs_->n_running > 0) {
            if (!jobs_->finished.empty()) {
                const std::size_t job = jobs_->finished.front();
                jobs_->finished.pop_front();
                lock.unlock();
                on_finished(job);
            } else {
                jobs_->changed.wait_for(lock, kBetweenSteps);
                lock.unlock();
                if (on_step) on_step();
            }
            lock.lock();
        }
        if (jobs_->error) std::rethrow_exception(jobs_->error);
    }

  private:
    std::unique_ptr<Jobs> jobs_;
    std::unique_ptr<std::vector<std::thread>> threads_;
    const bool& forked_;
};

}  // namespace

void side_by_side(std::size_t n_lanes, std::size_t n_jobs, const LaneWork& work,
                  const std::function<void(std::size_t)>& on_finished, const std::function<void()>& on_step,
                  const bool& forked) {
    if (n_lanes > 1) {
        Lanes(n_lanes, n_jobs, work, forked).wait(on_finished, on_step);
        return;
    }
    for (std::size_t job = 0; job < n_jobs; ++job) {
        if (on_step) on_step();
        work(0, job, on_step);
        on_finished(job);
    }
}

}  // namespace fastplr
