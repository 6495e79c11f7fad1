#include "available_memory.hpp"

#include <algorithm>
#include <cstdio>
#include <limits>
#include <sstream>

#include "control_groups.hpp"

#if defined(__unix__) || defined(__APPLE__)
#include <unistd.h>
#endif
#if defined(__linux__)
#include <sys/resource.h>
#endif

namespace fastplr {
namespace {

#if defined(__linux__)
// Of this process, in bytes.
struct Usage {
    double address_space = 0;
    double own_pages = 0;  // in memory now, and no part of a file that could be read again
};

Usage memory_usage(const std::string& root) {
    std::istringstream statm(text_of_file(root + "/proc/self/statm"));
    double size = 0;
    double resident = 0;
    double shared = 0;
    if (!(statm >> size >> resident >> shared)) return {};
    const auto page = static_cast<double>(sysconf(_SC_PAGE_SIZE));
    return {size * page, (resident - shared) * page};
}

bool has_swap(const std::string& root) {
    const std::string text = text_of_file(root + "/proc/meminfo");
    const std::string name = "SwapTotal:";
    const auto at = text.find(name);
    double kilobytes = 0;
    return at == std::string::npos || !(std::istringstream(text.substr(at + name.size())) >> kilobytes) ||
           kilobytes > 0;
}
#endif

}  // namespace

AvailableMemory available_memory([[maybe_unused]] const std::string& root) {
    AvailableMemory available{std::numeric_limits<double>::infinity(), "nothing"};
    [[maybe_unused]] const auto limit = [&](double n_bytes, const char* by) {
        if (n_bytes < available.n_bytes) available = {n_bytes > 0 ? n_bytes : 0, by};
    };
#if defined(__unix__) || defined(__APPLE__)
    limit(static_cast<double>(sysconf(_SC_PHYS_PAGES)) * static_cast<double>(sysconf(_SC_PAGE_SIZE)),
          "the memory of this machine");
#endif
#if defined(__linux__)
    if (const auto granted = cgroup_memory(root)) {
        limit(static_cast<double>(*granted), "the control group of this process");
    }
    const Usage usage = memory_usage(root);
    if (!has_swap(root)) available.n_bytes = std::max(available.n_bytes - usage.own_pages, 0.0);
    struct rlimit space{};
    if (getrlimit(RLIMIT_AS, &space) == 0 && space.rlim_cur != RLIM_INFINITY) {
        limit(static_cast<double>(space.rlim_cur) - usage.address_space, "RLIMIT_AS");
    }
#endif
    return available;
}

std::string megabytes(double n_bytes) {
    char text[40];
    std::snprintf(text, sizeof text, "%.1f MB", n_bytes / 1e6);
    return text;
}

}  // namespace fastplr
