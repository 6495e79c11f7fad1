// A test runner in one header: TEST_CASE registers a function, CHECK* record failures, run_all() prints one
// line a case.
#pragma once

#include <cmath>
#include <exception>
#include <functional>
#include <iostream>
#include <string>
#include <utility>
#include <vector>

namespace check {

struct Case {
    std::string name;
    std::function<void()> body;
};

inline std::vector<Case>& cases() {
    static std::vector<Case> all;
    return all;
}

inline int& failures() {
    static int count = 0;
    return count;
}

inline void fail(const char* file, int line, const std::string& what) {
    ++failures();
    std::cerr << file << ':' << line << ": " << what << '\n';
}

struct Registrar {
    Registrar(std::string name, std::function<void()> body) {
        cases().push_back({std::move(name), std::move(body)});
    }
};

/// Runs every case; returns the number of cases that failed.
inline int run_all() {
    int failed = 0;
    for (const Case& test : cases()) {
        const int before = failures();
        try {
            test.body();
        } catch (const std::exception& error) {
            fail(test.name.c_str(), 0, std::string("uncaught exception: ") + error.what());
        }
        const bool ok = failures() == before;
        failed += ok ? 0 : 1;
        std::cout << (ok ? "ok     " : "FAILED ") << test.name << '\n';
    }
    std::cout << cases().size() - static_cast<std::size_t>(failed) << " passed, " << failed << " failed\n";
    return failed;
}

}  // namespace check

#define CHECK_CONCAT_(a, b) a##b
#define CHECK_CONCAT(a, b) CHECK_CONCAT_(a, b)

#define TEST_CASE(name)                                                                                   \
    static void CHECK_CONCAT(test_case_, __LINE__)();                                                     \
    static const check::Registrar CHECK_CONCAT(registrar_, __LINE__)(name,                                \
                                                                     CHECK_CONCAT(test_case_, __LINE__)); \
    static void CHECK_CONCAT(test_case_, __LINE__)()

#define CHECK(condition)                                                                \
    do {                                                                                \
        if (!(condition)) check::fail(__FILE__, __LINE__, "CHECK failed: " #condition); \
    } while (false)

#define CHECK_NEAR(actual, expected, tolerance)                                                         \
    do {                                                                                                \
        const double actual_ = (actual), expected_ = (expected);                                        \
        if (!(std::abs(actual_ - expected_) <= (tolerance)))                                            \
            check::fail(__FILE__, __LINE__,                                                             \
                        "CHECK_NEAR failed: " #actual " = " + std::to_string(actual_) + ", expected " + \
                            std::to_string(expected_));                                                 \
    } while (false)

/// The expression must throw `type`, and the message must contain `fragment`.
#define CHECK_THROWS(expression, type, fragment)                                                    \
    do {                                                                                            \
        try {                                                                                       \
            (void)(expression);                                                                     \
            check::fail(__FILE__, __LINE__, "CHECK_THROWS failed: nothing thrown by " #expression); \
        } catch (const type& error_) {                                                              \
            if (std::string(error_.what()).find(fragment) == std::string::npos)                     \
                check::fail(__FILE__, __LINE__,                                                     \
                            std::string("CHECK_THROWS failed: message is ") + error_.what());       \
        }                                                                                           \
    } while (false)
