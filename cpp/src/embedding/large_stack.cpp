#include "embedding/large_stack.hpp"

#include <exception>
#include <string>

#include "fastplr/errors.hpp"

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif

namespace fastplr {
namespace {

struct Call {
    const std::function<void()>& function;
    std::exception_ptr error;
};

void* run(void* argument) {
    auto& call = *static_cast<Call*>(argument);
    try {
        call.function();
    } catch (...) {
        call.error = std::current_exception();
    }
    return nullptr;
}

}  // namespace

void run_with_large_stack(std::size_t n_bytes, const std::function<void()>& function) {
#if defined(__unix__) || defined(__APPLE__)
    Call call{function, nullptr};
    pthread_attr_t attributes;
    pthread_t thread;
    bool started = false;
    if (pthread_attr_init(&attributes) == 0) {
        started = pthread_attr_setstacksize(&attributes, n_bytes) == 0 &&
                  pthread_create(&thread, &attributes, run, &call) == 0;
        pthread_attr_destroy(&attributes);
    }
    if (!started) {
        throw ContextMemoryError("a thread with a stack of " + std::to_string(n_bytes >> 20) +
                                 " MiB, which long words need, could not be started");
    }
    pthread_join(thread, nullptr);
    if (call.error) std::rethrow_exception(call.error);
#else
    (void)n_bytes;
    function();
#endif
}

}  // namespace fastplr
