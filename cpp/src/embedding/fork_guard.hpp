// fork() copies the memory but only the calling thread: thread pools are gone in the child and locks may stay
// locked.
#pragma once

#include <cstddef>
#include <functional>

namespace fastplr {

/// While one lives, `in_child` is called in every forked child, before anything else runs there.
class ForkGuard {
  public:
    explicit ForkGuard(std::function<void()> in_child);
    ~ForkGuard();
    ForkGuard(const ForkGuard&) = delete;
    ForkGuard& operator=(const ForkGuard&) = delete;

  private:
    friend struct ForkRegistry;
    std::function<void()> in_child_;
};

/// Whether this process was forked off since some moment. What counts the forks must outlive it.
class ForkWatch {
  public:
    explicit ForkWatch(const std::size_t& n_forks) : n_forks_(n_forks), n_forks_then_(n_forks) {}

    /// True in a child of the process that made the watch: there all other threads of that time are gone.
    bool forked() const { return n_forks_ != n_forks_then_; }

  private:
    const std::size_t& n_forks_;
    std::size_t n_forks_then_;
};

}  // namespace fastplr
