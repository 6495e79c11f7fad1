// Jobs on several threads, with a caller who stays in charge.
#pragma once

#include <cstddef>
#include <functional>

#include "embedding/fork_guard.hpp"

namespace fastplr {

/// Says, at any time and at next to no cost, that the work is to end: whoever heeds it throws Stopped.
using IsStopped = std::function<bool()>;

struct Stopped {};

/// Does one job in one lane.
using LaneWork = std::function<void(std::size_t lane, std::size_t job, const IsStopped& is_stopped)>;

/// Does jobs 0 ... n_jobs - 1, each once and begun in this order, on `n_lanes` threads, or as many as can be
/// had; where there is none, on the calling one. A lane is on one job at a time, and goes on when the caller
/// has been told of it.
///
/// \param on_finished called on the calling thread with every job that is done, in the order they end; may
/// throw.
/// \param on_step called on the calling thread every 50 ms while it waits; may throw. May be empty.
/// What anything throws ends all lanes and is thrown again, the first one; jobs that end after all are told,
/// unless it was a callback that threw.
void side_by_side(std::size_t n_lanes, std::size_t n_jobs, const LaneWork& work,
                  const std::function<void(std::size_t job)>& on_finished,
                  const std::function<void()>& on_step, const ForkWatch& fork_watch);

}  // namespace fastplr
