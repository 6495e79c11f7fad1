#include "fastplr/classifier.hpp"

#include <algorithm>
#include <cmath>

#include "classifier/classifier_checks.hpp"
#include "embedding/text.hpp"

namespace fastplr {
namespace {

void expect(const char* what, std::size_t found, std::size_t expected) {
    if (found != expected) {
        throw InputError(std::string("classifier: ") + what + " has " + std::to_string(found) +
                         " values, expected " + std::to_string(expected));
    }
}

// Every value must be one that `allowed` accepts.
template <typename T, typename Allowed>
void check_values(const char* what, const std::vector<T>& values, Allowed allowed, const char* expected) {
    for (const T value : values) {
        if (!allowed(value)) {
            throw InputError(std::string("classifier: ") + what + " holds " + std::to_string(value) +
                             ", expected " + expected);
        }
    }
}

template <typename T>
void check_finite(const char* what, const std::vector<T>& values) {
    check_values(what, values, [](T value) { return std::isfinite(value); }, "finite numbers");
}

void check_training(const ClassifierData& data) {
    const KeptTraining& training = data.training;
    const std::size_t n = training.codes.size();
    expect("training.features", training.features.size(), n * data.n_features);
    expect("training.weights", training.weights.size(), n);
    expect("training.held_out_logits", training.held_out_logits.size(), n * data.n_rows());
    if (training.empty()) return;
    check_finite("training.features", training.features);
    const std::string codes = "0 to " + std::to_string(data.n_classes() - 1);
    check_values(
        "training.codes", training.codes,
        [&](std::int32_t code) { return code >= 0 && static_cast<std::size_t>(code) < data.n_classes(); },
        codes.c_str());
    check_values(
        "training.weights", training.weights,
        [](double weight) { return weight >= 0 && std::isfinite(weight); }, "finite numbers >= 0");
    double total = 0;
    for (const double weight : training.weights) total += weight;
    if (!(total > 0) || !std::isfinite(total)) {
        throw InputError("classifier: training.weights adds up to " + std::to_string(total) +
                         ", expected a finite sum > 0");
    }
    check_values(
        "training.held_out_logits", training.held_out_logits, [](double logit) { return !std::isinf(logit); },
        "finite numbers or NaN");
    const std::size_t rows = data.n_rows();
    for (std::size_t i = 0; i < n; ++i) {
        const double* row = training.held_out_logits.data() + i * rows;
        const auto n_missing = std::count_if(row, row + rows, [](double logit) { return std::isnan(logit); });
        if (n_missing != 0 && static_cast<std::size_t>(n_missing) != rows) {
            throw InputError("classifier: training.held_out_logits is NaN in a part of row " +
                             std::to_string(i) + ", expected all of the row or nothing");
        }
    }
}

std::string described(const ModelIdentity& identity) {
    return "source " + identity.source_sha256.substr(0, 12) + "..., " +
           (identity.tensor_type.empty()
                ? "as it is"
                : "made into " + identity.tensor_type + " by llama.cpp " + identity.llama_cpp_commit);
}

void check_identity(const ClassifierData& data, const std::string& model_path, bool allow_variant) {
    const ModelIdentity found = model_identity(model_path);
    if (found == data.model) return;
    const std::string both = "it was trained on '" + data.model_name + "' (" + described(data.model) +
                             "), '" + model_path + "' is " + described(found);
    if (found.source_sha256 != data.model.source_sha256) {
        throw ModelMismatch("the classifier belongs to another model: " + both);
    }
    if (!allow_variant) {
        throw ModelMismatch(
            "the classifier belongs to another variant of this model (allow_variant accepts it): " + both);
    }
}

}  // namespace

void check_sizes(const ClassifierData& data) {
    if (data.n_features == 0) throw InputError("classifier: 0 features, expected 1 or more");
    if (data.n_classes() < 2) {
        throw InputError("classifier: " + std::to_string(data.n_classes()) + " labels, expected 2 or more");
    }
    expect("mean", data.mean.size(), data.n_features);
    expect("scale", data.scale.size(), data.n_features);
    expect("coef", data.coef.size(), data.n_rows() * data.n_features);
    expect("intercept", data.intercept.size(), data.n_rows());
    if (!(data.temperature > 0) || !std::isfinite(data.temperature)) {
        throw InputError("classifier: temperature is " + std::to_string(data.temperature) +
                         ", expected a finite number > 0");
    }
    if (!data.log_prior_ratio.empty()) {
        expect("log_prior_ratio", data.log_prior_ratio.size(), data.n_classes());
        check_finite("log_prior_ratio", data.log_prior_ratio);
    }
}

void check_consistent(const ClassifierData& data) {
    check_sizes(data);
    expect("label_kinds", data.label_kinds.size(), data.n_classes());
    if (data.layer < -1) {
        throw InputError("classifier: layer is " + std::to_string(data.layer) + ", expected -1 or more");
    }
    check_finite("mean", data.mean);
    check_finite("scale", data.scale);
    check_values("scale", data.scale, [](double scale) { return scale > 0; }, "numbers > 0");
    check_finite("coef", data.coef);
    check_finite("intercept", data.intercept);
    if (!(data.C > 0)) throw InputError("classifier: C is " + std::to_string(data.C) + ", expected > 0");
    check_training(data);
    for (const std::string& label : data.labels) check_utf8(label, "classifier: a label");
    for (const std::string& kind : data.label_kinds) check_utf8(kind, "classifier: the kind of a label");
    for (const std::string* text :
         {&data.model_name, &data.model.source_sha256, &data.model.tensor_type, &data.model.llama_cpp_commit,
          &data.prompt.prefix, &data.prompt.suffix, &data.label_dtype, &data.created_with, &data.annotations})
        check_utf8(*text, "classifier: a text");
}

void decision_function(const ClassifierData& data, const float* features, std::size_t n_texts, double* out) {
    check_sizes(data);
    const std::size_t p = data.n_features;
    const std::size_t rows = data.n_rows();
    // coef * ((x - mean) / scale) + intercept, with the affine map folded into the coefficients once.
    std::vector<double> weight(rows * p);
    std::vector<double> offset(rows);
    for (std::size_t r = 0; r < rows; ++r) {
        offset[r] = data.intercept[r];
        for (std::size_t j = 0; j < p; ++j) {
            weight[r * p + j] = data.coef[r * p + j] / data.scale[j];
            offset[r] -= weight[r * p + j] * data.mean[j];
        }
    }
    for (std::size_t i = 0; i < n_texts; ++i) {
        const float* x = features + i * p;
        for (std::size_t j = 0; j < p; ++j) {
            if (!std::isfinite(x[j])) {
                throw InputError("feature " + std::to_string(j) + " of row " + std::to_string(i) + " is " +
                                 std::to_string(x[j]) + ": expected a finite number");
            }
        }
        for (std::size_t r = 0; r < rows; ++r) {
            double logit = offset[r];
            for (std::size_t j = 0; j < p; ++j) logit += weight[r * p + j] * static_cast<double>(x[j]);
            if (!std::isfinite(logit)) {
                throw InputError("the logit of row " + std::to_string(i) + " is " + std::to_string(logit) +
                                 ": coefficients and features are too large for float64");
            }
            out[i * rows + r] = logit;
        }
    }
}

void probabilities(const ClassifierData& data, const double* logits, std::size_t n_texts, double* out) {
    check_sizes(data);
    const std::size_t k = data.n_classes();
    const std::size_t rows = data.n_rows();
    std::vector<double> both(k);  // of two classes: 0, and the logit of the second
    for (std::size_t i = 0; i < n_texts; ++i) {
        const double* given = logits + i * rows;
        std::copy(given, given + rows, both.end() - static_cast<std::ptrdiff_t>(rows));
        // Only differences count. Taken before the division, the largest of them is 0 whatever the logits
        // and the temperature are: nothing overflows to infinity, and no infinities meet.
        const double largest_logit = *std::max_element(both.begin(), both.end());
        double* row = out + i * k;
        for (std::size_t c = 0; c < k; ++c) {
            row[c] = (both[c] - largest_logit) / data.temperature;
            if (!data.log_prior_ratio.empty()) row[c] += data.log_prior_ratio[c];
        }
        const double largest = *std::max_element(row, row + k);
        double total = 0;
        for (std::size_t c = 0; c < k; ++c) total += row[c] = std::exp(row[c] - largest);
        for (std::size_t c = 0; c < k; ++c) row[c] /= total;
    }
}

void predict_proba(const ClassifierData& data, const float* features, std::size_t n_texts, double* out) {
    check_sizes(data);
    std::vector<double> logits(n_texts * data.n_rows());
    decision_function(data, features, n_texts, logits.data());
    probabilities(data, logits.data(), n_texts, out);
}

Classifier::Classifier(ClassifierData data, std::unique_ptr<Embedder> embedder)
    : data_(std::move(data)), embedder_(std::move(embedder)) {}

Classifier Classifier::load(const std::string& path, const std::string& model_path,
                            const ClassifierOptions& options) {
    ClassifierData data = read_classifier(path);
    check_identity(data, model_path, options.allow_variant);
    const int n_layers = read_model_info(model_path).n_layers;
    if (data.layer > n_layers) {
        throw ClassifierFileError("classifier file '" + path + "' uses layer " + std::to_string(data.layer) +
                                  ", the model has " + std::to_string(n_layers));
    }
    ModelOptions model_options = options.model;
    if (model_options.max_layer == kAllLayers) model_options.max_layer = data.layer;  // -1 is all of them
    auto model = Model::load(model_path, model_options);
    if (static_cast<std::size_t>(model->n_embd()) != data.n_features) {
        throw ModelMismatch("the classifier has " + std::to_string(data.n_features) +
                            " features, the model at '" + model_path + "' gives " +
                            std::to_string(model->n_embd()));
    }
    return {std::move(data), std::make_unique<Embedder>(std::move(model), options.embedder)};
}

std::vector<double> Classifier::decision_function(const std::vector<std::string>& texts) {
    EmbedRequest request;
    request.layers = {data_.layer};
    request.poolings = {data_.pooling};
    request.prompt = data_.prompt;
    request.on_long = data_.on_long;
    std::vector<float> features(texts.size() * data_.n_features);
    embedder_->embed(texts, request, features.data());
    std::vector<double> logits(texts.size() * data_.n_rows());
    fastplr::decision_function(data_, features.data(), texts.size(), logits.data());
    return logits;
}

std::vector<double> Classifier::predict_proba(const std::vector<std::string>& texts) {
    const std::vector<double> logits = decision_function(texts);
    std::vector<double> result(texts.size() * data_.n_classes());
    probabilities(data_, logits.data(), texts.size(), result.data());
    return result;
}

std::vector<std::string> Classifier::predict(const std::vector<std::string>& texts) {
    const std::vector<double> rows = predict_proba(texts);
    const auto k = static_cast<std::ptrdiff_t>(data_.n_classes());
    std::vector<std::string> labels;
    labels.reserve(texts.size());
    for (auto row = rows.begin(); row != rows.end(); row += k) {
        labels.push_back(data_.labels[static_cast<std::size_t>(std::max_element(row, row + k) - row)]);
    }
    return labels;
}

}  // namespace fastplr
