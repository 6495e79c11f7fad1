// One call at a time: what waits for its turn can be interrupted, and nobody waits for itself.
#pragma once

#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>

namespace fastplr {

/// Held by the thread whose call computes. A fork leaves it to be made anew in the child.
class CallLock {
  public:
    /// Waits until no other thread holds it; calls `on_step`, if there is one, at least every 50 ms
    /// meanwhile, and gives up with what that throws. Throws ModelError where this very thread holds it: a
    /// callback or a signal handler that embeds while the call that it interrupts does.
    void acquire(const std::function<void()>& on_step);
    /// Nothing where this thread does not hold it, as in a child that was forked meanwhile.
    void release();

  private:
    std::mutex mutex_;
    std::condition_variable released_;
    std::thread::id holder_;
};

/// Holds a CallLock for a scope.
class CallTurn {
  public:
    CallTurn(CallLock& lock, const std::function<void()>& on_step) : lock_(lock) { lock_.acquire(on_step); }
    ~CallTurn() { lock_.release(); }
    CallTurn(const CallTurn&) = delete;
    CallTurn& operator=(const CallTurn&) = delete;

  private:
    CallLock& lock_;
};

}  // namespace fastplr
