// _core.read_model_info and _core.sha256_file.

#include <string>

#include "bindings.hpp"
#include "fastplr/errors.hpp"
#include "fastplr/model_info.hpp"
#include "fastplr/sha256.hpp"

namespace py = pybind11;

namespace {

/// The bytes of a str path as the operating system takes them. Unlike os.fsencode it leaves NUL bytes to the
/// core, which names them.
std::string encode_path(const py::str& path) {
    PyObject* encoded = PyUnicode_EncodeFSDefault(path.ptr());
    if (encoded == nullptr) {
        PyErr_Clear();
        throw fastplr::ModelError("the path of a model holds a character that no file name can hold");
    }
    return py::reinterpret_steal<py::bytes>(encoded);
}

py::dict read_model_info(const py::str& path) {
    const std::string native = encode_path(path);
    fastplr::ModelInfo info;
    {
        const py::gil_scoped_release release;
        info = fastplr::read_model_info(native);
    }
    py::list mix;
    for (const fastplr::TensorTypeShare& share : info.tensor_mix) {
        py::dict entry;
        entry["type"] = share.type;
        entry["n_tensors"] = share.n_tensors;
        entry["n_elements"] = share.n_elements;
        entry["n_bytes"] = share.n_bytes;
        mix.append(entry);
    }
    py::dict metadata;
    for (const auto& [key, value] : info.metadata) metadata[py::str(key)] = value;

    py::dict result;
    result["path"] = path;
    result["file_size"] = info.file_size;
    result["architecture"] = info.architecture;
    result["name"] = info.name;
    result["n_parameters"] = info.n_parameters;
    result["n_layers"] = info.n_layers;
    result["n_embd"] = info.n_embd;
    result["n_ctx_train"] = info.n_ctx_train;
    result["n_vocab"] = info.n_vocab;
    result["is_encoder"] = info.is_encoder;
    result["tensor_mix"] = mix;
    result["bits_per_weight"] = info.bits_per_weight;
    result["license"] = info.license;
    result["quantization"] = info.quantization;
    result["metadata"] = metadata;
    return result;
}

std::string sha256_file(const py::str& path) {
    const std::string native = encode_path(path);
    const py::gil_scoped_release release;
    return fastplr::sha256_file(native);
}

}  // namespace

void register_model_info(py::module_& m) {
    m.def("read_model_info", &read_model_info, py::arg("path"),
          R"(Read and check a GGUF model file without loading it.

Arguments:
    path: the file.

Returns:
    A dict of str, int, float, list and dict; the keys are those of fastplr.ModelInfo. Numbers are 0 and strings
    empty where the file does not state them.

Raises:
    ModelError: missing, no GGUF file, cut short, damaged, or nothing that llama.cpp could load.
    UnsupportedArchitecture: a network of another kind, such as an image projector.)");
    m.def("sha256_file", &sha256_file, py::arg("path"),
          R"(The SHA-256 of a file as 64 hexadecimal digits.

Raises:
    ModelError: missing, a directory, empty, or not readable.)");
}
