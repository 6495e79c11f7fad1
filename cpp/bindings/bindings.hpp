// What every register_*.cpp needs.
#pragma once

#include <pybind11/functional.h>
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

namespace fastplr_bindings {

/// C-contiguous array of T; other layouts and types are converted by NumPy.
template <typename T>
using Array = pybind11::array_t<T, pybind11::array::c_style | pybind11::array::forcecast>;

/// Moves llama.cpp's log lines to Python's logger "fastplr.llama". Call with the GIL held, after native work.
void forward_log();

/// Forwards the log when native work is over, however it ends.
struct LogForwarder {
    ~LogForwarder();
};

}  // namespace fastplr_bindings
