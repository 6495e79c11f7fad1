#include "embedding/call_lock.hpp"

#include <chrono>

#include "fastplr/errors.hpp"

namespace fastplr {

void CallLock::acquire(const std::function<void()>& on_step) {
    const std::thread::id self = std::this_thread::get_id();
    std::unique_lock lock(mutex_);
    if (holder_ == self) {
        throw ModelError(
            "the embedder is at work in this very thread: a signal handler or a callback cannot embed with "
            "it "
            "before it is done");
    }
    while (holder_ != std::thread::id()) {
        released_.wait_for(lock, std::chrono::milliseconds(50));
        if (holder_ != std::thread::id() && on_step) {
            lock.unlock();
            on_step();
            lock.lock();
        }
    }
    holder_ = self;
}

void CallLock::release() {
    {
        const std::lock_guard lock(mutex_);
        if (holder_ != std::this_thread::get_id()) return;
        holder_ = std::thread::id();
    }
    released_.notify_one();
}

}  // namespace fastplr
