#include "bindings.hpp"
#include "fastplr/answers.hpp"

namespace py = pybind11;
using fastplr::AnswerScorer;
using fastplr_bindings::Array;

namespace {

void check_states(const Array<float>& states, std::size_t n_states, int n_embd) {
    if (states.ndim() == 2 && static_cast<std::size_t>(states.shape(0)) == n_states &&
        states.shape(1) == n_embd)
        return;
    throw fastplr::InputError("states hold " + std::to_string(states.size()) + " values: expected float32 (" +
                              std::to_string(n_states) + ", " + std::to_string(n_embd) + ")");
}

void check_signals() {
    const py::gil_scoped_acquire gil;
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
}

py::array_t<double> logits(const AnswerScorer& scorer, const std::vector<std::string>& texts,
                           const Array<float>& states, bool truncate, const std::vector<std::size_t>& indices,
                           const py::object& on_progress) {
    check_states(states, texts.size(), scorer.head().n_embd());
    fastplr::EmbedRequest request;
    request.on_long = truncate ? fastplr::OnLong::truncate : fastplr::OnLong::error;
    request.indices = indices;
    request.on_step = check_signals;
    if (!on_progress.is_none()) {
        request.on_progress = [&](std::size_t n_done, std::size_t n_texts) {
            const py::gil_scoped_acquire gil;
            on_progress(n_done, n_texts);
        };
    }
    py::array_t<double> out({texts.size(), scorer.tokens().size()});
    double* data = out.mutable_data();
    const float* given = states.data();
    const fastplr_bindings::LogForwarder log;
    const py::gil_scoped_release release;
    scorer.logits(texts, given, request, data);
    return out;
}

py::array_t<double> log_normalisers(const AnswerScorer& scorer, const Array<float>& states, int n_threads) {
    const auto n = static_cast<std::size_t>(states.ndim() == 2 ? states.shape(0) : 0);
    check_states(states, n, scorer.head().n_embd());
    py::array_t<double> out(static_cast<py::ssize_t>(n));
    double* data = out.mutable_data();
    const float* given = states.data();
    const py::gil_scoped_release release;
    scorer.head().log_normalisers(given, n, n_threads, data, check_signals);
    return out;
}

}  // namespace

void register_answers(py::module_& m) {
    py::class_<AnswerScorer>(m, "AnswerScorer", "Scores a fixed set of answers as what a model says next.")
        .def(py::init([](std::shared_ptr<fastplr::Embedder> embedder, const std::string& prefix,
                         const std::string& suffix, const std::vector<std::string>& answers) {
                 return std::make_unique<AnswerScorer>(std::move(embedder), fastplr::Prompt{prefix, suffix},
                                                       answers);
             }),
             py::arg("embedder"), py::kw_only(), py::arg("prefix"), py::arg("suffix"), py::arg("answers"))
        .def_property_readonly("tokens", &AnswerScorer::tokens)
        .def("logits", &logits, py::arg("texts"), py::arg("states"), py::kw_only(),
             py::arg("truncate") = false, py::arg("indices") = std::vector<std::size_t>{},
             py::arg("on_progress") = py::none(),
             "float64 [n_texts, n_answers]: logit of the first token plus log-probabilities of the others.")
        .def("log_normalisers", &log_normalisers, py::arg("states"), py::kw_only(), py::arg("n_threads") = 0,
             "float64 [n_states]: logarithm of the sum of exp(logit) over the vocabulary.");
}
