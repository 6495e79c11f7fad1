// Runs a function on a thread with a large stack.
#pragma once

#include <cstddef>
#include <functional>

namespace fastplr {

/// Runs `function` to its end on a thread with `n_bytes` of stack (taken as they are used) and waits for it.
/// What it throws is thrown here. Throws ContextMemoryError where no such thread can be had. On platforms
/// without POSIX threads it runs on this one.
void run_with_large_stack(std::size_t n_bytes, const std::function<void()>& function);

}  // namespace fastplr
