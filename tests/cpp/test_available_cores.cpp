// The default number of threads: affinity (test_control_groups.cpp has the quotas).
#include "check.hpp"
#include "fastplr/available_cores.hpp"

#if defined(__linux__)
#include <sched.h>
#endif

TEST_CASE("at least one core") { CHECK(fastplr::available_cores() >= 1); }

#if defined(__linux__)
TEST_CASE("affinity counts") {
    cpu_set_t before;
    CPU_ZERO(&before);
    CHECK(sched_getaffinity(0, sizeof before, &before) == 0);
    CHECK(fastplr::available_cores() <= CPU_COUNT(&before));
    int first = 0;
    while (!CPU_ISSET(first, &before)) ++first;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(first, &one);
    CHECK(sched_setaffinity(0, sizeof one, &one) == 0);
    CHECK(fastplr::available_cores() == 1);
    CHECK(sched_setaffinity(0, sizeof before, &before) == 0);
}
#endif
