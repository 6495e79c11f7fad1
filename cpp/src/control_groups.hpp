// What the control groups (cgroups, versions 1 and 2) of this process allow it, on Linux.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace fastplr {

/// Cores that the CPU quotas grant, rounded up, at least 1; none where there is no quota. The quotas of the
/// process's own group and of every group above it hold; which of them are visible depends on what is
/// mounted.
/// \param root where the file system begins: a folder in tests.
std::optional<int> cgroup_cores(const std::string& root = "");

/// Bytes of memory that the groups of this process may use together with all others in them; none where
/// nothing limits it. Parameter as above.
std::optional<std::uint64_t> cgroup_memory(const std::string& root = "");

/// The text of a file, empty where it cannot be read.
std::string text_of_file(const std::string& path);

}  // namespace fastplr
