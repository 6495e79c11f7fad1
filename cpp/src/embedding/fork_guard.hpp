// fork() copies the memory but only the calling thread: thread pools are gone in the child and locks may stay
// locked.
#pragma once

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

}  // namespace fastplr
