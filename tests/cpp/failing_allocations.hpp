// Allocations that fail on demand: replaces malloc() and its like for the whole program, and
// pthread_create(), whose stack is memory too. For glibc, which lets a program do that; not together with a
// sanitizer. Include it in one source file.
#pragma once

#include <dlfcn.h>
#include <pthread.h>

#include <atomic>
#include <cerrno>
#include <cstddef>

extern "C" {
void* __libc_malloc(std::size_t);
void* __libc_calloc(std::size_t, std::size_t);
void* __libc_realloc(void*, std::size_t);
void* __libc_memalign(std::size_t, std::size_t);
}

/// While one lives, allocations of at least kLeast bytes, on any thread, are counted from 0, and number
/// `first` fails; with `and_all_later` those after it too.
class FailingAllocations {
  public:
    static constexpr std::size_t kLeast = 1024;

    FailingAllocations(long first, bool and_all_later) {
        left_ = first;
        and_all_later_ = and_all_later;
        happened_ = false;
        armed_ = true;
    }
    ~FailingAllocations() { armed_ = false; }
    FailingAllocations(const FailingAllocations&) = delete;
    FailingAllocations& operator=(const FailingAllocations&) = delete;

    /// Whether an allocation failed since the last one was made.
    static bool happened() { return happened_; }

    static bool fails(std::size_t n_bytes) {
        if (!armed_ || n_bytes < kLeast) return false;
        if (happened_) return and_all_later_;
        if (left_.fetch_sub(1) != 0) return false;
        happened_ = true;
        return true;
    }

  private:
    static inline std::atomic<bool> armed_{false};
    static inline std::atomic<bool> happened_{false};
    static inline std::atomic<bool> and_all_later_{false};
    static inline std::atomic<long> left_{0};
};

extern "C" {
// Seen by the shared libraries of the program as well.
#pragma GCC visibility push(default)

void* malloc(std::size_t n_bytes) noexcept {
    if (!FailingAllocations::fails(n_bytes)) return __libc_malloc(n_bytes);
    errno = ENOMEM;
    return nullptr;
}

void* calloc(std::size_t n, std::size_t size) noexcept {
    if (!FailingAllocations::fails(n * size)) return __libc_calloc(n, size);
    errno = ENOMEM;
    return nullptr;
}

void* realloc(void* pointer, std::size_t n_bytes) noexcept {
    if (!FailingAllocations::fails(n_bytes)) return __libc_realloc(pointer, n_bytes);
    errno = ENOMEM;
    return nullptr;
}

void* aligned_alloc(std::size_t alignment, std::size_t n_bytes) noexcept {
    if (!FailingAllocations::fails(n_bytes)) return __libc_memalign(alignment, n_bytes);
    errno = ENOMEM;
    return nullptr;
}

int posix_memalign(void** pointer, std::size_t alignment, std::size_t n_bytes) noexcept {
    if (FailingAllocations::fails(n_bytes)) return ENOMEM;
    *pointer = __libc_memalign(alignment, n_bytes);
    return *pointer == nullptr ? ENOMEM : 0;
}

int pthread_create(pthread_t* thread, const pthread_attr_t* attributes, void* (*run)(void*),
                   void* argument) noexcept {
    static const auto create =
        reinterpret_cast<decltype(&pthread_create)>(dlsym(RTLD_NEXT, "pthread_create"));
    constexpr std::size_t kStack = std::size_t{8} << 20;
    return FailingAllocations::fails(kStack) ? EAGAIN : create(thread, attributes, run, argument);
}

#pragma GCC visibility pop
}
