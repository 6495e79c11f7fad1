#include <memory>

#include "bindings.hpp"
#include "embedding/text.hpp"
#include "fastplr/embedder.hpp"

namespace py = pybind11;
using fastplr::Embedder;
using fastplr::Model;

namespace {

py::dict embed(Embedder& embedder, const std::vector<std::string>& texts, py::array_t<float>& out,
               const std::vector<int>& layers, const std::vector<std::string>& poolings,
               const std::string& prefix, const std::string& suffix, bool truncate,
               const std::vector<std::size_t>& indices, const py::object& on_progress,
               const py::object& on_batch) {
    fastplr::EmbedRequest request;
    request.layers = layers;
    for (const std::string& word : poolings) request.poolings.push_back(fastplr::pooling_from_string(word));
    request.prompt = {prefix, suffix};
    request.indices = indices;
    request.on_long = truncate ? fastplr::OnLong::truncate : fastplr::OnLong::error;
    request.on_step = [] {
        const py::gil_scoped_acquire gil;
        if (PyErr_CheckSignals() != 0) throw py::error_already_set();
    };
    if (!on_batch.is_none()) {
        request.on_batch = [&](const std::vector<std::size_t>& finished,
                               const std::vector<std::size_t>& truncated) {
            const py::gil_scoped_acquire gil;
            on_batch(finished, truncated);
        };
    }
    request.on_progress = [&](std::size_t n_done, std::size_t n_texts) {
        const py::gil_scoped_acquire gil;
        if (PyErr_CheckSignals() != 0)
            throw py::error_already_set();  // Ctrl-C ends the work after this batch
        if (!on_progress.is_none()) on_progress(n_done, n_texts);
    };
    const std::size_t expected =
        texts.size() * layers.size() * poolings.size() * static_cast<std::size_t>(embedder.model().n_embd());
    if (static_cast<std::size_t>(out.size()) != expected || !(out.flags() & py::array::c_style)) {
        throw fastplr::InputError("out holds " + std::to_string(out.size()) +
                                  " values: expected a C-contiguous float32 "
                                  "array of " +
                                  std::to_string(expected));
    }
    float* data = out.mutable_data();
    const fastplr_bindings::LogForwarder log;
    const auto result = [&] {
        const py::gil_scoped_release release;
        return embedder.embed(texts, request, data);
    }();
    py::dict summary;
    summary["n_tokens"] = result.n_tokens;
    summary["n_computed"] = result.n_computed;
    summary["truncated"] = result.truncated;
    return summary;
}

}  // namespace

void register_embedder(py::module_& m) {
    m.def(
        "check_texts",
        [](const std::vector<std::string>& texts, std::size_t first) {
            for (std::size_t i = 0; i < texts.size(); ++i) fastplr::check_text(texts[i], first + i);
        },
        py::arg("texts"), py::kw_only(), py::arg("first") = 0,
        "Raises InputError for the first text that is empty, blank, or holds a NUL byte; messages number the "
        "texts from `first`.");
    py::class_<Embedder, std::shared_ptr<Embedder>>(m, "Embedder", "llama.cpp contexts on a shared model.")
        .def(py::init([](std::shared_ptr<Model> model, int n_ctx, int n_batch, int n_threads,
                         bool share_prefix, int max_lanes) {
                 return std::make_shared<Embedder>(
                     std::move(model),
                     fastplr::EmbedderOptions{n_ctx, n_batch, n_threads, share_prefix, max_lanes});
             }),
             py::arg("model"), py::kw_only(), py::arg("n_ctx") = 0, py::arg("n_batch") = 512,
             py::arg("n_threads") = 0, py::arg("share_prefix") = true, py::arg("max_lanes") = 0)
        .def_property_readonly(
            "model",
            [](const Embedder& embedder) { return std::const_pointer_cast<Model>(embedder.shared_model()); })
        .def_property_readonly("shares_prefix", &Embedder::shares_prefix)
        .def("embed", &embed, py::arg("texts"), py::arg("out").noconvert(), py::kw_only(), py::arg("layers"),
             py::arg("poolings"), py::arg("prefix") = "", py::arg("suffix") = "", py::arg("truncate") = false,
             py::arg("indices") = std::vector<std::size_t>{}, py::arg("on_progress") = py::none(),
             py::arg("on_batch") = py::none(),
             "Fill `out`, float32 [n_texts, n_layers, n_poolings, n_embd]; returns n_tokens and the "
             "positions of truncated texts. After every batch on_batch gets the positions whose rows are "
             "final, "
             "and those of them that were truncated.")
        .def(
            "count_tokens",
            [](const Embedder& embedder, const std::string& text, const std::string& prefix,
               const std::string& suffix) { return embedder.count_tokens(text, {prefix, suffix}); },
            py::arg("text"), py::kw_only(), py::arg("prefix") = "", py::arg("suffix") = "");
}
