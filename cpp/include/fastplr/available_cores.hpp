// How many threads it makes sense to start.
#pragma once

#include <string>

namespace fastplr {

/// Cores that this process may use, at least 1: those of its affinity mask, and on Linux no more than the CPU
/// quota of its control group (versions 1 and 2) grants, rounded up.
int available_cores();

/// What a quota grants, rounded up; 0 where there is none. For tests.
/// \param cpu_max the text of cgroup v2's `cpu.max` ("QUOTA PERIOD" in microseconds, "max" for no quota).
int cores_of_cpu_max(const std::string& cpu_max);

}  // namespace fastplr
