#include "bindings.hpp"

void register_answers(pybind11::module_& m);
void register_classifier(pybind11::module_& m);
void register_embedder(pybind11::module_& m);
void register_errors(pybind11::module_& m);
void register_explain(pybind11::module_& m);
void register_logistic_regression(pybind11::module_& m);
void register_model(pybind11::module_& m);
void register_model_info(pybind11::module_& m);

PYBIND11_MODULE(_core, m) {
    m.doc() = "fastplr's native core. Not a public interface: use the fastplr package.";
    m.attr("llama_cpp_commit") = FASTPLR_LLAMA_CPP_COMMIT;
    m.attr("llama_cpp_sources") = FASTPLR_LLAMA_CPP_SOURCES;
    register_errors(m);
    register_model_info(m);
    register_model(m);
    register_embedder(m);
    register_logistic_regression(m);
    register_classifier(m);
    register_explain(m);
    register_answers(m);
}
