// Quotas and limits of control groups, read from a folder that has what the kernel shows (cgroups(7),
// Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst of Linux).
#include <cstdint>
#include <optional>
#include <string>

#include "check.hpp"
#include "control_groups.hpp"
#include "folder_of_files.hpp"

using fastplr::cgroup_cores;
using fastplr::cgroup_memory;

namespace {

constexpr std::uint64_t kMb = 1'000'000;

std::optional<int> cores_where_cpu_max_is(const std::string& text) {
    const FolderOfFiles files;
    files.write("/proc/self/cgroup", "0::/\n");
    files.write("/sys/fs/cgroup/cpu.max", text);
    return cgroup_cores(files.root());
}

std::optional<std::uint64_t> memory_where_memory_max_is(const std::string& text) {
    const FolderOfFiles files;
    files.write("/proc/self/cgroup", "0::/\n");
    files.write("/sys/fs/cgroup/memory.max", text);
    return cgroup_memory(files.root());
}

}  // namespace

TEST_CASE("a quota is rounded up, none is none") {
    CHECK(cores_where_cpu_max_is("200000 100000\n") == 2);
    CHECK(cores_where_cpu_max_is("150000 100000\n") == 2);
    CHECK(cores_where_cpu_max_is("10000 100000\n") == 1);
    CHECK(cores_where_cpu_max_is("50000 20000\n") == 3);
    CHECK(!cores_where_cpu_max_is("max 100000\n"));
}

TEST_CASE("a limit of memory is a number of bytes, max is none") {
    CHECK(memory_where_memory_max_is("512000000\n") == 512 * kMb);
    CHECK(memory_where_memory_max_is("512000000") == 512 * kMb);
    CHECK(!memory_where_memory_max_is("max\n"));
}

TEST_CASE("what is no quota and no limit is none") {
    for (const char* text : {"", "\n", " ", "garbage", "100000", "100000 0", "-1 100000", "0 100000",
                             "nan 100000", "\xff\xfe"}) {
        CHECK(!cores_where_cpu_max_is(text));
    }
    for (const char* text : {"", "\n", " ", "garbage", "-1", "0", "12 kB", "1e9", "0x10", "\xff\xfe",
                             "99999999999999999999999999"}) {
        CHECK(!memory_where_memory_max_is(text));
    }
}

TEST_CASE("the tightest group on the way up counts, version 2") {
    const FolderOfFiles files;
    files.write("/proc/self/cgroup", "0::/user.slice/job:1/step\n");
    const std::string top = "/sys/fs/cgroup/user.slice";
    files.write(top + "/job:1/step/cpu.max", "max 100000\n");
    files.write(top + "/job:1/step/memory.max", "900000000\n");
    CHECK(!cgroup_cores(files.root()));
    CHECK(cgroup_memory(files.root()) == 900 * kMb);
    files.write(top + "/job:1/cpu.max", "400000 100000\n");
    files.write(top + "/job:1/memory.max", "max\n");
    files.write(top + "/cpu.max", "300000 100000\n");
    files.write(top + "/memory.max", "700000000\n");
    CHECK(cgroup_cores(files.root()) == 3);
    CHECK(cgroup_memory(files.root()) == 700 * kMb);
    // In a container with a name space of its own the root of the mount is a group like any other.
    files.write("/sys/fs/cgroup/cpu.max", "200000 100000\n");
    files.write("/sys/fs/cgroup/memory.max", "600000000\n");
    CHECK(cgroup_cores(files.root()) == 2);
    CHECK(cgroup_memory(files.root()) == 600 * kMb);
}

TEST_CASE("the tightest group on the way up counts, version 1, each controller by itself") {
    const FolderOfFiles files;
    files.write("/proc/self/cgroup",
                "11:pids:/other\n4:memory:/batch/run\n3:cpuset:/\n2:cpu,cpuacct:/jobs/a\n1:name=systemd:/\n");
    const std::string cpu = "/sys/fs/cgroup/cpu/jobs";
    const std::string memory = "/sys/fs/cgroup/memory/batch";
    files.write(cpu + "/a/cpu.cfs_quota_us", "-1\n");
    files.write(cpu + "/a/cpu.cfs_period_us", "100000\n");
    files.write(memory + "/run/memory.limit_in_bytes", "9223372036854771712\n");  // the kernel's "no limit"
    CHECK(!cgroup_cores(files.root()));
    CHECK(cgroup_memory(files.root()) == 9223372036854771712u);
    files.write(cpu + "/cpu.cfs_quota_us", "250000\n");
    CHECK(!cgroup_cores(files.root()));  // a quota without a period
    files.write(cpu + "/cpu.cfs_period_us", "100000\n");
    files.write(memory + "/memory.limit_in_bytes", "300000000\n");
    CHECK(cgroup_cores(files.root()) == 3);
    CHECK(cgroup_memory(files.root()) == 300 * kMb);
    // What another group may do is nothing to this process.
    files.write("/sys/fs/cgroup/cpu/jobs/b/cpu.cfs_quota_us", "1000\n");
    files.write("/sys/fs/cgroup/cpu/jobs/b/cpu.cfs_period_us", "100000\n");
    files.write("/sys/fs/cgroup/memory/other/memory.limit_in_bytes", "1000\n");
    CHECK(cgroup_cores(files.root()) == 3);
    CHECK(cgroup_memory(files.root()) == 300 * kMb);
}

TEST_CASE("both versions at once") {
    const FolderOfFiles files;
    files.write("/proc/self/cgroup", "4:memory:/a\n0::/b\n");
    files.write("/sys/fs/cgroup/memory/a/memory.limit_in_bytes", "800000000\n");
    files.write("/sys/fs/cgroup/b/memory.max", "500000000\n");
    files.write("/sys/fs/cgroup/b/cpu.max", "100000 100000\n");
    CHECK(cgroup_memory(files.root()) == 500 * kMb);
    CHECK(cgroup_cores(files.root()) == 1);
}

TEST_CASE("a list of groups that is missing or damaged limits nothing") {
    const FolderOfFiles files;
    files.write("/sys/fs/cgroup/memory.max", "5\n");
    files.write("/sys/fs/cgroup/memory/memory.limit_in_bytes", "5\n");
    CHECK(!cgroup_memory(files.root()));
    for (const char* text : {"", "\n\n", "garbage\n", "0:\n", "::", "\xff:\xfe:\xfd"}) {
        files.write("/proc/self/cgroup", text);
        CHECK(!cgroup_cores(files.root()));
    }
    files.write("/proc/self/cgroup", "4:memory:no-slash\n");
    files.write("/sys/fs/cgroup/memoryno-slash/memory.limit_in_bytes", "5\n");
    CHECK(!cgroup_memory(files.root()));
}
