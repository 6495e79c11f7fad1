// Jobs on several threads, with a caller who stays in charge.
#pragma once

#include <cstddef>
#include <functional>

namespace fastplr {

/// One lane's share of the work: which lane, which job, and what to call now and then; that throws where the
/// work is to stop, and must not be caught.
using LaneWork = std::function<void(std::size_t lane, std::size_t job, const std::function<void()>& on_step)>;

/// Does jobs 0 ... n_jobs - 1, each once and begun in this order, on `n_lanes` threads, or as many as can be
/// had; on the calling thread where `n_lanes` is 1. A lane is never on two jobs at once.
///
/// \param on_finished called on the calling thread with every job that is done, in the order they end; may
/// throw.
/// \param on_step called on the calling thread before each wait, every 50 ms and more often; may throw. May
/// be empty.
/// \param forked true in a process that was forked since: there the threads are gone.
/// What anything throws ends all lanes, after the job that each is on, and is thrown again: the first one.
/// Throws ContextMemoryError where no thread can be started.
void side_by_side(std::size_t n_lanes, std::size_t n_jobs, const LaneWork& work,
                  const std::function<void(std::size_t job)>& on_finished,
                  const std::function<void()>& on_step, const bool& forked);

}  // namespace fastplr
