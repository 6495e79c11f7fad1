#include "fastplr/available_cores.hpp"

#include <algorithm>
#include <thread>

#include "control_groups.hpp"

#if defined(__linux__)
#include <sched.h>
#endif

namespace fastplr {
namespace {

#if defined(__linux__)
int cores_of_affinity() {
    cpu_set_t set;
    CPU_ZERO(&set);
    return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 0;
}
#endif

}  // namespace

int available_cores() {
    int cores = static_cast<int>(std::thread::hardware_concurrency());
#if defined(__linux__)
    if (const int allowed = cores_of_affinity(); allowed > 0) cores = allowed;
    if (const auto granted = cgroup_cores()) cores = std::min(cores, *granted);
#endif
    return std::max(cores, 1);
}

}  // namespace fastplr
