#include "embedding/fork_guard.hpp"

#include <mutex>
#include <set>
#include <utility>

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif

namespace fastplr {

struct ForkRegistry {
    std::mutex mutex;
    std::set<ForkGuard*> guards;

    // Never destroyed: a fork may happen while static objects are torn down.
    static ForkRegistry& instance() {
        static ForkRegistry* registry = [] {
            auto* created = new ForkRegistry;
#if defined(__unix__) || defined(__APPLE__)
            pthread_atfork([] { instance().mutex.lock(); }, [] { instance().mutex.unlock(); },
                           [] {
                               for (ForkGuard* guard : instance().guards) guard->in_child_();
                               instance().mutex.unlock();
                           });
#endif
            return created;
        }();
        return *registry;
    }
};

ForkGuard::ForkGuard(std::function<void()> in_child) : in_child_(std::move(in_child)) {
    ForkRegistry& registry = ForkRegistry::instance();
    const std::lock_guard lock(registry.mutex);
    registry.guards.insert(this);
}

ForkGuard::~ForkGuard() {
    ForkRegistry& registry = ForkRegistry::instance();
    const std::lock_guard lock(registry.mutex);
    registry.guards.erase(this);
}

}  // namespace fastplr
