#include "bindings.hpp"
#include "classifier_dict.hpp"
#include "fastplr/explain.hpp"

namespace py = pybind11;
using fastplr::TextSpan;

namespace {

using Spans = std::vector<std::pair<std::size_t, std::size_t>>;

fastplr::ExplainMethod method_from_string(const std::string& word) {
    if (word == "additive") return fastplr::ExplainMethod::additive;
    if (word == "occlusion") return fastplr::ExplainMethod::occlusion;
    if (word == "surrogate") return fastplr::ExplainMethod::surrogate;
    if (word == "shapley") return fastplr::ExplainMethod::shapley;
    throw fastplr::InputError("method is '" + word +
                              "': expected 'additive', 'occlusion', 'surrogate' or 'shapley'");
}

Spans pairs_of(const std::vector<TextSpan>& spans) {
    Spans pairs;
    for (const TextSpan& span : spans) pairs.emplace_back(span.begin, span.end);
    return pairs;
}

std::vector<TextSpan> spans_of(const Spans& pairs) {
    std::vector<TextSpan> spans;
    for (const auto& [begin, end] : pairs) spans.push_back({begin, end});
    return spans;
}

py::list explain(fastplr::Embedder& embedder, const py::dict& classifier,
                 const std::vector<std::string>& texts, const std::vector<Spans>& spans,
                 const std::string& method, std::optional<std::size_t> budget, std::uint64_t seed,
                 const std::string& replacement, bool truncate, const py::object& on_progress) {
    const fastplr::ClassifierData data = fastplr_bindings::classifier_from_dict(classifier);
    fastplr::ExplainOptions options;
    options.method = method_from_string(method);
    options.budget = budget;
    options.seed = seed;
    options.replacement = replacement;
    options.on_long = truncate ? fastplr::OnLong::truncate : fastplr::OnLong::error;
    options.on_step = [] {
        const py::gil_scoped_acquire gil;
        if (PyErr_CheckSignals() != 0) throw py::error_already_set();
    };
    if (!on_progress.is_none()) {
        options.on_progress = [&](std::size_t n_done, std::size_t n_texts) {
            const py::gil_scoped_acquire gil;
            on_progress(n_done, n_texts);
        };
    }
    std::vector<std::vector<TextSpan>> wanted;
    for (const Spans& of_text : spans) wanted.push_back(spans_of(of_text));
    const fastplr_bindings::LogForwarder log;
    const auto found = [&] {
        const py::gil_scoped_release release;
        return fastplr::explain(embedder, data, texts, wanted, options);
    }();
    py::list result;
    for (const fastplr::TextExplanation& one : found) {
        const auto matrix = [&](const std::vector<double>& values) {
            return py::array_t<double>({one.spans.size(), data.n_rows()}, values.data());
        };
        const auto vector = [](const std::vector<double>& values) {
            return py::array_t<double>(static_cast<py::ssize_t>(values.size()), values.data());
        };
        py::dict entry;
        entry["spans"] = pairs_of(one.spans);
        entry["values"] = matrix(one.values);
        entry["standard_errors"] =
            one.standard_errors.empty() ? py::object(py::none()) : py::object(matrix(one.standard_errors));
        entry["logits"] = vector(one.logits);
        entry["base"] = vector(one.base);
        entry["prompt"] = vector(one.prompt);
        entry["truncated"] = one.truncated;
        result.append(entry);
    }
    return result;
}

}  // namespace

void register_explain(py::module_& m) {
    m.def(
        "words_of", [](const std::string& text) { return pairs_of(fastplr::words_of(text)); },
        py::arg("text"), "Bytes (begin, end) of the words of a text.");
    m.def(
        "phrases_of",
        [](const std::string& text) { return pairs_of(fastplr::phrases_of(text, fastplr::words_of(text))); },
        py::arg("text"), "Bytes (begin, end) of the phrases of a text.");
    m.def("explain", &explain, py::arg("embedder"), py::arg("classifier"), py::arg("texts"), py::kw_only(),
          py::arg("spans"), py::arg("method"), py::arg("budget") = py::none(), py::arg("seed") = 0,
          py::arg("replacement") = "", py::arg("truncate") = false, py::arg("on_progress") = py::none(),
          "For each text a dict: spans (bytes), values and standard_errors (None or float64 [n_spans, "
          "n_rows]), logits, "
          "base and prompt [n_rows], truncated.");
}
