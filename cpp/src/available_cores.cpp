#include "fastplr/available_cores.hpp"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <sstream>
#include <thread>

#if defined(__linux__)
#include <sched.h>
#endif

namespace fastplr {
namespace {

int cores_of_quota(double quota, double period) {
    if (!(quota > 0) || !(period > 0)) return 0;
    return static_cast<int>(std::clamp(std::ceil(quota / period), 1.0, 1e6));
}

#if defined(__linux__)
int cores_of_affinity() {
    cpu_set_t set;
    CPU_ZERO(&set);
    return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 0;
}

std::string text_of(const std::string& path) {
    std::ifstream file(path);
    std::ostringstream text;
    text << file.rdbuf();
    return file ? text.str() : "";
}

// The quotas of this group and of every group above it hold; which of them are visible depends on the mount.
int cores_of_cgroup() {
    int least = 0;
    const auto consider = [&](int cores) {
        if (cores > 0) least = least == 0 ? cores : std::min(least, cores);
    };
    std::istringstream groups(text_of("/proc/self/cgroup"));
    for (std::string line; std::getline(groups, line);) {  // ID:CONTROLLERS:PATH
        const auto first = line.find(':');
        const auto second = line.find(':', first + 1);
        if (second == std::string::npos) continue;
        const std::string controllers = "," + line.substr(first + 1, second - first - 1) + ",";
        for (std::string path = line.substr(second + 1);; path.resize(path.rfind('/'))) {
            if (path == "/") path.clear();
            if (controllers == ",,") {
                consider(cores_of_cpu_max(text_of("/sys/fs/cgroup" + path + "/cpu.max")));
            } else if (controllers.find(",cpu,") != std::string::npos) {
                const std::string folder = "/sys/fs/cgroup/cpu" + path;
                const std::string quota = text_of(folder + "/cpu.cfs_quota_us");
                const std::string period = text_of(folder + "/cpu.cfs_period_us");
                if (!quota.empty() && !period.empty()) consider(cores_of_cpu_max(quota + " " + period));
            }
            if (path.empty() || path.rfind('/') == std::string::npos) break;
        }
    }
    return least;
}
#endif

}  // namespace

int cores_of_cpu_max(const std::string& cpu_max) {
    std::istringstream words(cpu_max);
    double quota = 0;
    double period = 0;
    return words >> quota >> period ? cores_of_quota(quota, period) : 0;
}

int available_cores() {
    int cores = static_cast<int>(std::thread::hardware_concurrency());
#if defined(__linux__)
    if (const int allowed = cores_of_affinity(); allowed > 0) cores = allowed;
    if (const int granted = cores_of_cgroup(); granted > 0) cores = std::min(cores, granted);
#endif
    return std::max(cores, 1);
}

}  // namespace fastplr
