// How much this process can still get: the machine, its control groups, its address space.
#include <cstdio>
#include <string>

#include "available_memory.hpp"
#include "check.hpp"
#include "fastplr/errors.hpp"
#include "folder_of_files.hpp"

#if defined(__linux__)
#include <sys/resource.h>
#include <unistd.h>

using fastplr::AvailableMemory;

namespace {

// A process with 500 pages in memory, 100 of them of files, in a group of 100 MB.
void write_process(const FolderOfFiles& files, const std::string& kilobytes_of_swap) {
    files.write("/proc/self/cgroup", "0::/job\n");
    files.write("/sys/fs/cgroup/job/memory.max", "100000000\n");
    files.write("/proc/self/statm", "1000 500 100 1 0 200 0\n");
    files.write("/proc/meminfo", "MemTotal:  32000000 kB\nSwapTotal:       " + kilobytes_of_swap + " kB\n");
}

AvailableMemory available_with_address_space(double n_bytes) {
    const std::string statm = "/proc/self/statm";
    struct rlimit before{};
    CHECK(getrlimit(RLIMIT_AS, &before) == 0);
    std::FILE* file = std::fopen(statm.c_str(), "r");
    double n_pages = 0;
    CHECK(std::fscanf(file, "%lf", &n_pages) == 1);
    std::fclose(file);
    struct rlimit tight = before;
    tight.rlim_cur = static_cast<rlim_t>(n_pages * static_cast<double>(getpagesize()) + n_bytes);
    CHECK(setrlimit(RLIMIT_AS, &tight) == 0);
    const AvailableMemory available = fastplr::available_memory();
    CHECK(setrlimit(RLIMIT_AS, &before) == 0);
    return available;
}

}  // namespace

TEST_CASE("the limit of the group, less what the process holds where nothing can be moved out") {
    const FolderOfFiles files;
    write_process(files, "0");
    const auto without_swap = fastplr::available_memory(files.root());
    CHECK_NEAR(without_swap.n_bytes, 100e6 - 400.0 * getpagesize(), 1.0);
    CHECK(std::string(without_swap.limited_by) == "the control group of this process");
    write_process(files, "1000");
    CHECK_NEAR(fastplr::available_memory(files.root()).n_bytes, 100e6, 1.0);
}

TEST_CASE("less than nothing is nothing") {
    const FolderOfFiles files;
    write_process(files, "0");
    files.write("/sys/fs/cgroup/job/memory.max", "1000000\n");
    CHECK(fastplr::available_memory(files.root()).n_bytes == 0);
}

TEST_CASE("without limits it is the memory of the machine") {
    const FolderOfFiles files;  // no file there at all
    const double pages = static_cast<double>(sysconf(_SC_PHYS_PAGES));
    CHECK_NEAR(fastplr::available_memory(files.root()).n_bytes, pages * getpagesize(), 1.0);
    CHECK(std::string(fastplr::available_memory(files.root()).limited_by) == "the memory of this machine");
    CHECK(fastplr::available_memory().n_bytes <= pages * getpagesize());
}

TEST_CASE("what is left of the address space") {
    const auto available = available_with_address_space(50e6);
    CHECK_NEAR(available.n_bytes, 50e6, 1e6);
    CHECK(std::string(available.limited_by) == "RLIMIT_AS");
}
#endif

TEST_CASE("too much is refused with both figures") {
    fastplr::check_memory<fastplr::InputError>("a thing", 1.0);
    CHECK_THROWS(fastplr::check_memory<fastplr::ContextMemoryError>("a thing", 1.5e18),
                 fastplr::ContextMemoryError, "a thing takes at least 1500000000000.0 MB, but no more than");
}

TEST_CASE("megabytes are millions of bytes") { CHECK(fastplr::megabytes(12'340'000.0) == "12.3 MB"); }
