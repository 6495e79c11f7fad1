// How much memory it makes sense to ask for.
#pragma once

#include <string>

namespace fastplr {

struct AvailableMemory {
    double n_bytes;
    const char* limited_by;  ///< for an error message: "the memory of this machine", ...
};

/// What this process can still get at most, by the tightest of: the machine's memory and the limits of its
/// control groups, less what the process holds where there is no swap to move that to; what is left of its
/// address space (RLIMIT_AS). What others use is not subtracted, since they may let it go.
/// \param root where the file system begins: a folder in tests.
AvailableMemory available_memory(const std::string& root = "");

/// "12.3 MB", of a million bytes.
std::string megabytes(double n_bytes);

/// Throws `Error`, saying what takes how much, where `n_bytes` are more than available_memory().
/// \param what the subject of the message: "a context for ...".
template <typename Error>
void check_memory(const std::string& what, double n_bytes) {
    const AvailableMemory available = available_memory();
    if (n_bytes <= available.n_bytes) return;
    throw Error(what + " takes at least " + megabytes(n_bytes) + ", but no more than " +
                megabytes(available.n_bytes) + " can be had (limited by " + available.limited_by + ")");
}

}  // namespace fastplr
