#include "control_groups.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <fstream>
#include <sstream>
#include <vector>

namespace fastplr {
namespace {

struct ControlGroup {
    std::string folder;
    bool v2;  // else version 1, whose files have other names
};

// The groups that limit this process, for one of version 1's controllers or version 2's only hierarchy.
std::vector<ControlGroup> control_groups(const std::string& controller, const std::string& root) {
    std::vector<ControlGroup> groups;
    std::istringstream lines(text_of_file(root + "/proc/self/cgroup"));
    for (std::string line; std::getline(lines, line);) {  // ID:CONTROLLERS:PATH
        const auto first = line.find(':');
        const auto second = line.find(':', first + 1);
        if (first == std::string::npos || second == std::string::npos) continue;
        std::string controllers = line.substr(first, second - first + 1);
        controllers.front() = controllers.back() = ',';
        const bool v2 = controllers == ",,";
        if (!v2 && controllers.find("," + controller + ",") == std::string::npos) continue;
        const std::string mount = root + "/sys/fs/cgroup" + (v2 ? "" : "/" + controller);
        std::string path = line.substr(second + 1);
        if (!path.starts_with('/')) continue;
        if (path == "/") path.clear();
        while (true) {
            groups.push_back({mount + path, v2});
            if (path.empty()) break;
            path.resize(path.rfind('/'));
        }
    }
    return groups;
}

// "QUOTA PERIOD", in microseconds; a quota of "max" or -1 is none.
std::optional<int> cores_of_quota(const std::string& text) {
    std::istringstream words(text);
    double quota = 0;
    double period = 0;
    if (!(words >> quota >> period) || !(quota > 0) || !(period > 0)) return std::nullopt;
    return static_cast<int>(std::clamp(std::ceil(quota / period), 1.0, 1e6));
}

// A group of 0 bytes has no process in it.
std::optional<std::uint64_t> bytes_of_limit(const std::string& text) {
    const std::size_t length = std::min(text.find_last_not_of(" \n") + 1, text.size());
    std::uint64_t n_bytes = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + length, n_bytes);
    if (error != std::errc() || end != text.data() + length || n_bytes == 0) return std::nullopt;
    return n_bytes;
}

template <typename Number>
void keep_least(std::optional<Number>& least, const std::optional<Number>& limit) {
    if (limit) least = least ? std::min(*least, *limit) : *limit;
}

}  // namespace

std::string text_of_file(const std::string& path) {
    std::ifstream file(path);
    std::ostringstream text;
    text << file.rdbuf();
    return file ? text.str() : "";
}

std::optional<int> cgroup_cores(const std::string& root) {
    std::optional<int> least;
    for (const ControlGroup& group : control_groups("cpu", root)) {
        keep_least(least, cores_of_quota(group.v2 ? text_of_file(group.folder + "/cpu.max")
                                                  : text_of_file(group.folder + "/cpu.cfs_quota_us") + " " +
                                                        text_of_file(group.folder + "/cpu.cfs_period_us")));
    }
    return least;
}

std::optional<std::uint64_t> cgroup_memory(const std::string& root) {
    std::optional<std::uint64_t> least;
    for (const ControlGroup& group : control_groups("memory", root)) {
        keep_least(least, bytes_of_limit(text_of_file(
                              group.folder + (group.v2 ? "/memory.max" : "/memory.limit_in_bytes"))));
    }
    return least;
}

}  // namespace fastplr
