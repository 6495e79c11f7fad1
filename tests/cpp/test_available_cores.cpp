// The default number of threads: affinity and quota of this process.
#include "check.hpp"
#include "fastplr/available_cores.hpp"

#if defined(__linux__)
#include <sched.h>
#endif

TEST_CASE("a quota is rounded up, none is none") {
    CHECK(fastplr::cores_of_cpu_max("200000 100000\n") == 2);
    CHECK(fastplr::cores_of_cpu_max("150000 100000") == 2);
    CHECK(fastplr::cores_of_cpu_max("10000 100000") == 1);
    CHECK(fastplr::cores_of_cpu_max("max 100000\n") == 0);
    CHECK(fastplr::cores_of_cpu_max("-1\n 100000\n") == 0);
    CHECK(fastplr::cores_of_cpu_max("100000 0") == 0);
    CHECK(fastplr::cores_of_cpu_max("") == 0);
}

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
