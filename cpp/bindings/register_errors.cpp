// Our C++ exceptions become the classes of fastplr.errors; llama.cpp's log becomes Python's.
#include <exception>

#include "bindings.hpp"
#include "fastplr/errors.hpp"
#include "model/llama_log.hpp"

namespace py = pybind11;

namespace fastplr_bindings {
namespace {

void raise(const char* name, const char* message) {
    const py::object type = py::module_::import("fastplr.errors").attr(name);
    PyErr_SetString(type.ptr(), message);
}

void translate(std::exception_ptr pointer) {
    if (!pointer) return;
    try {
        std::rethrow_exception(pointer);
    } catch (const fastplr::InputError& error) {
        raise("InputError", error.what());
    } catch (const fastplr::UnsupportedArchitecture& error) {
        raise("UnsupportedArchitecture", error.what());
    } catch (const fastplr::ModelError& error) {
        raise("ModelError", error.what());
    } catch (const fastplr::ClassifierFileError& error) {
        raise("ClassifierFileError", error.what());
    } catch (const fastplr::ModelMismatch& error) {
        raise("ModelMismatch", error.what());
    } catch (const fastplr::ContextMemoryError& error) {
        raise("ContextMemoryError", error.what());
    } catch (const fastplr::Error& error) {
        raise("FastplrError", error.what());
    }
}

// ggml_log_level to the levels of Python's logging.
int python_level(int level) { return level <= 1 ? 10 : level == 2 ? 20 : level == 3 ? 30 : 40; }

}  // namespace

void forward_log() {
    const auto lines = fastplr::drain_log();
    if (lines.empty()) return;
    const py::object logger = py::module_::import("logging").attr("getLogger")("fastplr.llama");
    for (const auto& line : lines) {
        // llama.cpp's text may hold bytes of a model file.
        const auto text = py::reinterpret_steal<py::object>(
            PyUnicode_DecodeUTF8(line.text.data(), static_cast<Py_ssize_t>(line.text.size()), "replace"));
        logger.attr("log")(python_level(line.level), "%s", text);
    }
}

LogForwarder::~LogForwarder() {
    // An exception may be on its way through the interpreter: it is set aside while the log is written.
    py::error_scope keep;
    try {
        forward_log();
    } catch (py::error_already_set& error) {
        // Ctrl-C was pressed while a handler wrote: nothing may leave a destructor, so it is pressed again.
        if (error.matches(PyExc_KeyboardInterrupt)) {
            PyErr_SetInterrupt();
        } else {
            error.discard_as_unraisable("fastplr log");
        }
    }
}

}  // namespace fastplr_bindings

void register_errors(py::module_& m) {
    py::register_local_exception_translator(fastplr_bindings::translate);
    m.def("set_log_level", &fastplr::set_log_level, py::arg("level"),
          "Keep llama.cpp's log lines of at least this level: 1 debug, 2 info, 3 warning, 4 error.");
}
