// What llama.cpp says: its log lines go to one sink, and a failed GGML_ASSERT becomes an exception.
#pragma once

#include <functional>
#include <string>
#include <vector>

namespace fastplr {

struct LogLine {
    int level;  ///< ggml_log_level: 1 debug, 2 info, 3 warning, 4 error
    std::string text;
};

/// Initialises llama.cpp once for the process and directs its log to the sink. Safe to call often.
void initialise_llama();

/// Lines at or above this level are kept for drain_log() (default: 3, warnings).
void set_log_level(int level);

/// Takes the lines kept since the last call, oldest first; at most 1000 are kept.
std::vector<LogLine> drain_log();

/// While one lives, on this thread: a failed GGML_ASSERT throws ModelError instead of ending the process,
/// memory that ggml cannot do without std::bad_alloc; and the error lines of llama.cpp are collected for the
/// message of our own exception.
class NativeGuard {
  public:
    NativeGuard();
    ~NativeGuard();
    NativeGuard(const NativeGuard&) = delete;
    NativeGuard& operator=(const NativeGuard&) = delete;

    /// The error lines so far, joined by "; "; "no further reason given" where there were none.
    std::string errors() const;

    /// What llama.cpp says on this thread, until the guard ends, goes nowhere.
    static void silence();

    /// Whether any of them says that memory ran out: llama.cpp reports it in no other way where it has caught
    /// the exception.
    bool out_of_memory() const;
};

/// While one lives, on this thread, it hears every line of llama.cpp, whatever the level. What it throws
/// passes through llama.cpp: only where the lines come from C++ that expects exceptions, as those of its
/// quantiser.
class LogListener {
  public:
    using Listen = std::function<void(const char* line)>;
    explicit LogListener(Listen listen);
    ~LogListener();
    LogListener(const LogListener&) = delete;
    LogListener& operator=(const LogListener&) = delete;

  private:
    Listen listen_;
};

}  // namespace fastplr
