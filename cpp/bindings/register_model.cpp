#include "bindings.hpp"
#include "fastplr/available_cores.hpp"
#include "fastplr/model.hpp"
#include "fastplr/model_identity.hpp"
#include "fastplr/quantize.hpp"

namespace py = pybind11;
using fastplr::Model;

void register_model(py::module_& m) {
    py::class_<Model, std::shared_ptr<Model>>(m, "Model", "A language model loaded from a GGUF file.")
        .def(py::init([](const std::string& path, int n_gpu_layers, int max_layer, bool kernels,
                         bool floats_in_8_bits, const py::object& on_progress) {
                 fastplr::ModelOptions options;
                 options.max_layer = max_layer;
                 options.n_gpu_layers = n_gpu_layers;
                 options.kernels = kernels;
                 options.floats_in_8_bits = floats_in_8_bits;
                 options.on_progress = [&](double fraction) {
                     const py::gil_scoped_acquire gil;
                     if (PyErr_CheckSignals() != 0) throw py::error_already_set();
                     if (!on_progress.is_none()) on_progress(fraction);
                 };
                 const fastplr_bindings::LogForwarder log;
                 const py::gil_scoped_release release;
                 return std::const_pointer_cast<Model>(Model::load(path, options));
             }),
             py::arg("path"), py::kw_only(), py::arg("n_gpu_layers") = 0,
             py::arg("max_layer") = fastplr::kAllLayers, py::arg("kernels") = true,
             py::arg("floats_in_8_bits") = false, py::arg("on_progress") = py::none())
        .def_property_readonly("n_layers", &Model::n_layers)
        .def_property_readonly("max_layer", &Model::max_layer)
        .def_property_readonly("n_bytes_loaded", &Model::n_bytes_loaded)
        .def_property_readonly("types_left_to_ggml", &Model::types_left_to_ggml)
        .def_property_readonly("n_embd", &Model::n_embd)
        .def_property_readonly("n_ctx_train", &Model::n_ctx_train)
        .def_property_readonly("is_encoder", &Model::is_encoder)
        .def_property_readonly("architecture", [](const Model& model) { return model.info().architecture; });

    m.def("available_cores", &fastplr::available_cores,
          "Cores that this process may use: affinity, and the quotas of its control groups.");
    m.def("accelerator_available", &fastplr::accelerator_available);
    m.def("kernels_name", &fastplr::kernels_name,
          "The instruction set of fastplr's own kernels on this processor; empty where they are off.");
    m.def(
        "recorded_identity",
        [](const std::string& path) -> py::object {
            const auto identity = fastplr::recorded_identity(path);
            if (!identity) return py::none();
            py::dict result;
            result["source_sha256"] = identity->source_sha256;
            result["tensor_type"] = identity->tensor_type;
            result["llama_cpp_commit"] = identity->llama_cpp_commit;
            result["n_layers_kept"] = identity->n_layers_kept;
            return result;
        },
        py::arg("path"),
        "Source and recipe of a variant that quantize_file() made; None for any other file.");
    m.def(
        "quantize_file",
        [](const std::string& source, const std::string& target, const std::string& type_name, int n_threads,
           const std::string& source_sha256, int n_layers, bool allow_requantize, bool allow_fallback,
           const py::object& on_progress) {
            fastplr::QuantizeOptions options;
            options.n_threads = n_threads;
            options.n_layers = n_layers;
            options.allow_requantize = allow_requantize;
            options.allow_fallback = allow_fallback;
            options.source_sha256 = source_sha256;
            options.on_progress = [&](int n_done, int n_tensors) {
                const py::gil_scoped_acquire gil;
                if (PyErr_CheckSignals() != 0) throw py::error_already_set();
                if (!on_progress.is_none()) on_progress(n_done, n_tensors);
            };
            const fastplr_bindings::LogForwarder log;
            const py::gil_scoped_release release;
            fastplr::quantize_file(source, target, type_name, options);
        },
        py::arg("source"), py::arg("target"), py::arg("type_name"), py::arg("n_threads") = 0,
        py::arg("source_sha256") = "", py::kw_only(), py::arg("n_layers") = 0,
        py::arg("allow_requantize") = false, py::arg("allow_fallback") = false,
        py::arg("on_progress") = py::none(),
        "Write the model at `source` with another tensor type to `target`.");
    m.def("rows_fit", &fastplr::rows_fit, py::arg("source"), py::arg("type_name"),
          "Whether the rows of the model at `source` are multiples of the block of a type.");
    m.def("kernel_of_type", &fastplr::kernel_of_type, py::arg("type_name"),
          "What multiplies by matrices of a type on this processor.");
}
