#include "parallel.hpp"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <exception>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#include "fastplr/available_cores.hpp"

namespace fastplr::solver {

int resolve_n_threads(int n_threads) {
    if (n_threads > 0) return n_threads;
    return available_cores();
}

void parallel_for(std::ptrdiff_t n_tasks, int n_threads, const std::function<void(std::ptrdiff_t)>& task) {
    std::atomic<std::ptrdiff_t> next{0};
    std::exception_ptr first_error;
    std::mutex error_mutex;
    const auto work = [&] {
        for (std::ptrdiff_t i = next++; i < n_tasks; i = next++) {
            try {
                task(i);
            } catch (...) {
                const std::lock_guard lock(error_mutex);
                if (!first_error) first_error = std::current_exception();
                next = n_tasks;
            }
        }
    };
    std::vector<std::thread> threads;
    const std::ptrdiff_t n_extra = std::min<std::ptrdiff_t>(n_threads, n_tasks) - 1;
    for (std::ptrdiff_t t = 0; t < n_extra; ++t) {
        try {
            threads.emplace_back(work);
        } catch (const std::system_error&) {
            break;  // no more threads to be had: the ones we have do the work
        }
    }
    work();
    for (std::thread& thread : threads) thread.join();
    if (first_error) std::rethrow_exception(first_error);
}

}  // namespace fastplr::solver
