#include "model/llama_log.hpp"

#include <algorithm>
#include <array>
#include <atomic>
#include <deque>
#include <mutex>
#include <new>
#include <string_view>
#include <utility>

#if defined(__unix__) || defined(__APPLE__)
#include <pthread.h>
#endif

#include "fastplr/errors.hpp"
#include "llama.h"

// ggml's one process-wide lock (ggml-threading.h, a private header): every ggml_init() takes it.
extern "C" {
void ggml_critical_section_start(void);
void ggml_critical_section_end(void);
}

namespace fastplr {
namespace {

constexpr std::size_t kMaxLines = 1000;

struct Sink {
    std::mutex mutex;
    std::deque<LogLine> lines;
    std::atomic<int> level{GGML_LOG_LEVEL_WARN};
    int last_level = GGML_LOG_LEVEL_NONE;  // continuation lines carry GGML_LOG_LEVEL_CONT
};

// Never destroyed: llama.cpp may log while static objects are torn down.
Sink& sink() {
    static Sink* instance = new Sink;
    return *instance;
}

thread_local int guard_depth = 0;
thread_local const LogListener::Listen* listener = nullptr;
thread_local bool guard_silent = false;
thread_local std::string guard_errors;
thread_local bool guard_out_of_memory = false;

constexpr std::string_view kAbortOutOfMemory = "out of memory";  // of our patch 0009

// What llama.cpp and ggml, as pinned, say where memory cannot be had.
constexpr std::array<std::string_view, 6> kOutOfMemory{"bad_alloc",           "failed to allocate",
                                                       "failed to reserve",   "unable to allocate",
                                                       "insufficient memory", kAbortOutOfMemory};

bool note_out_of_memory(std::string_view line) {
    const bool says_so = std::any_of(kOutOfMemory.begin(), kOutOfMemory.end(), [&](std::string_view words) {
        return line.find(words) != std::string_view::npos;
    });
    guard_out_of_memory = guard_out_of_memory || says_so;
    return says_so;
}

void keep_error(std::string_view line) {
    if (!guard_errors.empty()) guard_errors += "; ";
    guard_errors += line;
}

void keep_line(ggml_log_level level, const char* text) {
    Sink& out = sink();
    std::string line(text);
    while (!line.empty() && line.back() == '\n') line.pop_back();
    if (line.empty()) return;
    const std::lock_guard lock(out.mutex);
    const int known = level == GGML_LOG_LEVEL_CONT ? out.last_level : static_cast<int>(level);
    out.last_level = known;
    if (known >= GGML_LOG_LEVEL_ERROR && guard_depth > 0) {
        keep_error(line);
    }
    if (known < out.level.load(std::memory_order_relaxed)) return;
    out.lines.push_back({known, std::move(line)});
    if (out.lines.size() > kMaxLines) out.lines.pop_front();
}

// Called by C code that has something to free: no exception may pass, and a line is not worth one. (A
// listener knows who is called.)
void on_log(ggml_log_level level, const char* text, void*) {
    if (listener != nullptr) (*listener)(text);
    if (guard_silent) return;
    if (level == GGML_LOG_LEVEL_ERROR && guard_depth > 0) note_out_of_memory(text);
    try {
        keep_line(level, text);
    } catch (const std::bad_alloc&) {
    }
}

void on_abort(const char* message) {
    // On a thread of ggml's pool there is nobody to catch: ggml then ends the process as it always did.
    if (guard_depth == 0) return;
    if (!note_out_of_memory(message)) throw ModelError(std::string("llama.cpp refused: ") + message);
    const std::string_view line(message);
    keep_error(line.substr(std::min(line.find(kAbortOutOfMemory), line.size())));  // where it was is not told
    throw std::bad_alloc();
}

#if defined(__unix__) || defined(__APPLE__)
// fork() keeps locks as they are but not the threads that hold them. Whoever forks takes these first: then
// they are free, and what they guard is whole, in the child. In this order, since ggml may log under its own
// lock.
void lock_before_fork() {
    ggml_critical_section_start();
    sink().mutex.lock();
}

void unlock_after_fork() {
    sink().mutex.unlock();
    ggml_critical_section_end();
}
#endif

}  // namespace

void initialise_llama() {
    static std::once_flag once;
    std::call_once(once, [] {
        llama_log_set(on_log, nullptr);
        ggml_set_abort_callback(on_abort);
        llama_backend_init();
#if defined(__unix__) || defined(__APPLE__)
        pthread_atfork(lock_before_fork, unlock_after_fork, unlock_after_fork);
#endif
    });
}

void set_log_level(int level) { sink().level.store(level, std::memory_order_relaxed); }

std::vector<LogLine> drain_log() {
    Sink& out = sink();
    const std::lock_guard lock(out.mutex);
    std::vector<LogLine> lines(out.lines.begin(), out.lines.end());
    out.lines.clear();
    return lines;
}

NativeGuard::NativeGuard() {
    if (guard_depth++ > 0) return;
    guard_errors.clear();
    guard_out_of_memory = false;
}

NativeGuard::~NativeGuard() {
    if (--guard_depth == 0) guard_silent = false;
}

void NativeGuard::silence() { guard_silent = true; }

std::string NativeGuard::errors() const {
    return guard_errors.empty() ? "no further reason given" : guard_errors;
}

bool NativeGuard::out_of_memory() const { return guard_out_of_memory; }

LogListener::LogListener(Listen listen) : listen_(std::move(listen)) { listener = &listen_; }

LogListener::~LogListener() { listener = nullptr; }

}  // namespace fastplr
