#include "bindings.hpp"
#include "classifier_dict.hpp"
#include "fastplr/classifier.hpp"

namespace py = pybind11;
using fastplr::ClassifierData;

namespace {

template <typename T>
py::array_t<T> matrix(const std::vector<T>& values, std::size_t n_columns) {
    py::array_t<T> result({values.size() / n_columns, n_columns});
    std::copy(values.begin(), values.end(), result.mutable_data());
    return result;
}

template <typename T>
py::array_t<T> vector(const std::vector<T>& values) {
    return py::array_t<T>(static_cast<py::ssize_t>(values.size()), values.data());
}

template <typename T>
std::vector<T> values_of(const py::handle& array) {
    const auto values = array.cast<fastplr_bindings::Array<T>>();
    return std::vector<T>(values.data(), values.data() + values.size());
}

// Of a kept training row nothing may be lost: no other type is converted.
template <typename T>
std::vector<T> exact(const py::dict& training, const char* key) {
    if (!py::isinstance<py::array_t<T>>(training[key])) {
        throw fastplr::InputError(std::string("training: ") + key + " is no array of " +
                                  py::str(py::dtype::of<T>()).cast<std::string>());
    }
    return values_of<T>(training[key]);
}

// The values of a matrix with `n_columns` columns: a transposed one has as many.
std::vector<double> rows_of(const py::handle& array, const char* key, std::size_t n_columns) {
    const auto values = array.cast<fastplr_bindings::Array<double>>();
    if (values.ndim() != 2 || static_cast<std::size_t>(values.shape(1)) != n_columns)
        throw fastplr::InputError(std::string(key) + ": expected " + std::to_string(n_columns) + " columns");
    return values_of<double>(array);
}

py::dict to_dict(const ClassifierData& data) {
    py::dict result;
    result["model_name"] = data.model_name;
    result["source_sha256"] = data.model.source_sha256;
    result["tensor_type"] = data.model.tensor_type;
    result["llama_cpp_commit"] = data.model.llama_cpp_commit;
    result["prefix"] = data.prompt.prefix;
    result["suffix"] = data.prompt.suffix;
    result["layer"] = data.layer;
    result["pooling"] = fastplr::to_string(data.pooling);
    result["on_long"] = data.on_long == fastplr::OnLong::truncate ? "truncate" : "error";
    result["labels"] = data.labels;
    result["label_kinds"] = data.label_kinds;
    result["label_dtype"] = data.label_dtype;
    result["mean"] = vector(data.mean);
    result["scale"] = vector(data.scale);
    result["coef"] = matrix(data.coef, data.n_features);
    result["intercept"] = vector(data.intercept);
    result["C"] = data.C;
    result["temperature"] = data.temperature;
    result["log_prior_ratio"] = vector(data.log_prior_ratio);
    result["training"] = py::none();
    if (!data.training.empty()) {
        py::dict training;
        training["features"] = matrix(data.training.features, data.n_features);
        training["codes"] = vector(data.training.codes);
        training["weights"] = vector(data.training.weights);
        training["held_out_logits"] = matrix(data.training.held_out_logits, data.n_rows());
        result["training"] = training;
    }
    result["format_version"] = data.format_version;
    result["created_with"] = data.created_with;
    result["annotations"] = data.annotations;
    return result;
}

}  // namespace

ClassifierData fastplr_bindings::classifier_from_dict(const py::dict& dict) {
    const auto text = [&](const char* key) { return dict[key].cast<std::string>(); };
    const auto numbers = [&](const char* key) { return values_of<double>(dict[key]); };
    ClassifierData data;
    data.model_name = text("model_name");
    data.model = {text("source_sha256"), text("tensor_type"), text("llama_cpp_commit")};
    data.prompt = {text("prefix"), text("suffix")};
    data.layer = dict["layer"].cast<int>();
    data.pooling = fastplr::pooling_from_string(text("pooling"));
    data.on_long = text("on_long") == "truncate" ? fastplr::OnLong::truncate : fastplr::OnLong::error;
    data.labels = dict["labels"].cast<std::vector<std::string>>();
    data.label_kinds = dict["label_kinds"].cast<std::vector<std::string>>();
    data.label_dtype = text("label_dtype");
    data.mean = numbers("mean");
    data.scale = numbers("scale");
    data.n_features = data.mean.size();
    data.coef = rows_of(dict["coef"], "coef", data.n_features);
    data.intercept = numbers("intercept");
    data.C = dict["C"].cast<double>();
    data.temperature = dict["temperature"].cast<double>();
    data.log_prior_ratio = numbers("log_prior_ratio");
    if (!dict["training"].is_none()) {
        const auto training = dict["training"].cast<py::dict>();
        data.training.features = exact<float>(training, "features");
        data.training.codes = exact<std::int32_t>(training, "codes");
        data.training.weights = exact<double>(training, "weights");
        data.training.held_out_logits = exact<double>(training, "held_out_logits");
    }
    data.created_with = text("created_with");
    data.annotations = text("annotations");
    return data;
}

namespace {

// Logits or probabilities of float32 features [n_texts, n_features].
template <typename Function>
py::array_t<double> apply(const py::dict& dict, const fastplr_bindings::Array<float>& features,
                          Function function, bool probabilities) {
    const ClassifierData data = fastplr_bindings::classifier_from_dict(dict);
    if (features.ndim() != 2 || static_cast<std::size_t>(features.shape(1)) != data.n_features) {
        throw fastplr::InputError("features: expected [n_texts, " + std::to_string(data.n_features) + "]");
    }
    const auto n_texts = static_cast<std::size_t>(features.shape(0));
    py::array_t<double> out({n_texts, probabilities ? data.n_classes() : data.n_rows()});
    const float* in = features.data();
    double* result = out.mutable_data();
    const py::gil_scoped_release release;
    function(data, in, n_texts, result);
    return out;
}

}  // namespace

void register_classifier(py::module_& m) {
    m.attr("classifier_format_version") = fastplr::kClassifierFormatVersion;
    m.def(
        "save_classifier",
        [](const py::dict& dict, const std::string& path) {
            const ClassifierData data = fastplr_bindings::classifier_from_dict(dict);
            const py::gil_scoped_release release;
            fastplr::save_classifier(data, path);
        },
        py::arg("data"), py::arg("path"));
    m.def(
        "read_classifier",
        [](const std::string& path) {
            const auto read = [&] {
                const py::gil_scoped_release release;
                return fastplr::read_classifier(path);
            };
            return to_dict(read());
        },
        py::arg("path"));
    m.def(
        "decision_function",
        [](const py::dict& data, const fastplr_bindings::Array<float>& features) {
            return apply(data, features, fastplr::decision_function, false);
        },
        py::arg("data"), py::arg("features"));
    m.def(
        "probabilities",
        [](const py::dict& dict, const fastplr_bindings::Array<double>& logits) {
            const ClassifierData data = fastplr_bindings::classifier_from_dict(dict);
            if (logits.ndim() != 2 || static_cast<std::size_t>(logits.shape(1)) != data.n_rows())
                throw fastplr::InputError("logits: expected [n_texts, " + std::to_string(data.n_rows()) +
                                          "]");
            const auto n_texts = static_cast<std::size_t>(logits.shape(0));
            py::array_t<double> out({n_texts, data.n_classes()});
            fastplr::probabilities(data, logits.data(), n_texts, out.mutable_data());
            return out;
        },
        py::arg("data"), py::arg("logits"));
    m.def(
        "predict_proba",
        [](const py::dict& data, const fastplr_bindings::Array<float>& features) {
            return apply(data, features, fastplr::predict_proba, true);
        },
        py::arg("data"), py::arg("features"));
}
