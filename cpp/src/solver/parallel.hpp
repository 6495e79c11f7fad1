// Runs independent tasks on a few threads.
#pragma once

#include <cstddef>
#include <functional>

namespace fastplr::solver {

/// Number of threads to use: `n_threads`, or what the hardware has where it is 0.
int resolve_n_threads(int n_threads);

/// Calls task(0) .. task(n_tasks - 1), at most `n_threads` at a time. The threads live only during the call,
/// so a process may fork before or after it. The first exception of a task is rethrown once all threads have
/// ended.
void parallel_for(std::ptrdiff_t n_tasks, int n_threads, const std::function<void(std::ptrdiff_t)>& task);

}  // namespace fastplr::solver
