#include "bindings.hpp"
#include "classifier_dict.hpp"
#include "fastplr/counterfactual.hpp"
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

std::vector<std::vector<TextSpan>> spans_of(const std::vector<Spans>& texts) {
    std::vector<std::vector<TextSpan>> spans;
    for (const Spans& pairs : texts) {
        spans.emplace_back();
        for (const auto& [begin, end] : pairs) spans.back().push_back({begin, end});
    }
    return spans;
}

/// What both kinds of options have in common. `on_progress` is to outlive them.
template <typename Options>
void set_shared(Options& options, const std::string& replacement, bool truncate,
                const py::object& on_progress) {
    options.replacement = replacement;
    options.on_long = truncate ? fastplr::OnLong::truncate : fastplr::OnLong::error;
    options.on_step = [] {
        const py::gil_scoped_acquire gil;
        if (PyErr_CheckSignals() != 0) throw py::error_already_set();
    };
    if (!on_progress.is_none()) {
        options.on_progress = [&on_progress](std::size_t n_done, std::size_t n_texts) {
            const py::gil_scoped_acquire gil;
            on_progress(n_done, n_texts);
        };
    }
}

py::array_t<double> vector_of(const std::vector<double>& values) {
    return py::array_t<double>(static_cast<py::ssize_t>(values.size()), values.data());
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
    set_shared(options, replacement, truncate, on_progress);
    const auto wanted = spans_of(spans);
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
        py::dict entry;
        entry["spans"] = pairs_of(one.spans);
        entry["values"] = matrix(one.values);
        entry["standard_errors"] =
            one.standard_errors.empty() ? py::object(py::none()) : py::object(matrix(one.standard_errors));
        entry["logits"] = vector_of(one.logits);
        entry["base"] = vector_of(one.base);
        entry["prompt"] = vector_of(one.prompt);
        entry["truncated"] = one.truncated;
        result.append(entry);
    }
    return result;
}

py::list find_counterfactuals(fastplr::Embedder& embedder, const py::dict& classifier,
                              const std::vector<std::string>& texts, const std::vector<Spans>& spans,
                              std::size_t budget, const std::string& replacement, bool truncate,
                              const py::object& on_progress) {
    const fastplr::ClassifierData data = fastplr_bindings::classifier_from_dict(classifier);
    fastplr::CounterfactualOptions options;
    options.budget = budget;
    set_shared(options, replacement, truncate, on_progress);
    const auto wanted = spans_of(spans);
    const fastplr_bindings::LogForwarder log;
    const auto found = [&] {
        const py::gil_scoped_release release;
        return fastplr::find_counterfactuals(embedder, data, texts, wanted, options);
    }();
    py::list result;
    for (const fastplr::Counterfactual& one : found) {
        py::dict entry;
        entry["spans"] = pairs_of(one.spans);
        entry["removed"] = one.removed;
        entry["text_without"] = one.text_without;
        entry["logits"] = vector_of(one.logits);
        entry["logits_without"] = vector_of(one.logits_without);
        entry["smallest"] = one.smallest;
        entry["n_tried"] = one.n_tried;
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
    m.def("find_counterfactuals", &find_counterfactuals, py::arg("embedder"), py::arg("classifier"),
          py::arg("texts"), py::kw_only(), py::arg("spans"), py::arg("budget"), py::arg("replacement") = "",
          py::arg("truncate") = false, py::arg("on_progress") = py::none(),
          "For each text a dict: spans (bytes), removed (their positions), text_without, logits and "
          "logits_without "
          "[n_rows], smallest, n_tried, truncated.");
}
