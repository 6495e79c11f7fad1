// How many threads it makes sense to start.
#pragma once

namespace fastplr {

/// Cores that this process may use, at least 1: those of its affinity mask, and on Linux no more than the CPU
/// quotas of its control groups (versions 1 and 2) grant, rounded up.
int available_cores();

}  // namespace fastplr
