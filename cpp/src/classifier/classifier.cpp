#include "fastplr/classifier.hpp"

#include <algorithm>
#include <cmath>

namespace fastplr {
namespace {

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

void decision_function(const ClassifierData& data, const float* features, std::size_t n_texts, double* out) {
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
            out[i * rows + r] = logit;
        }
    }
}

void predict_proba(const ClassifierData& data, const float* features, std::size_t n_texts, double* out) {
    const std::size_t k = data.n_classes();
    std::vector<double> logits(n_texts * data.n_rows());
    decision_function(data, features, n_texts, logits.data());
    const auto ratio = [&](std::size_t c) {
        return data.log_prior_ratio.empty() ? 0.0 : data.log_prior_ratio[c];
    };
    for (std::size_t i = 0; i < n_texts; ++i) {
        double* row = out + i * k;
        if (k == 2) {
            // Each side by its own formula: 1 - p would lose the small one.
            const double z = logits[i] / data.temperature + ratio(1) - ratio(0);
            row[0] = 1.0 / (1.0 + std::exp(z));
            row[1] = 1.0 / (1.0 + std::exp(-z));
            continue;
        }
        for (std::size_t c = 0; c < k; ++c) row[c] = logits[i * k + c] / data.temperature + ratio(c);
        const double largest = *std::max_element(row, row + k);
        double total = 0;
        for (std::size_t c = 0; c < k; ++c) total += row[c] = std::exp(row[c] - largest);
        for (std::size_t c = 0; c < k; ++c) row[c] /= total;
    }
}

Classifier::Classifier(ClassifierData data, std::unique_ptr<Embedder> embedder)
    : data_(std::move(data)), embedder_(std::move(embedder)) {}

Classifier Classifier::load(const std::string& path, const std::string& model_path,
                            const ClassifierOptions& options) {
    ClassifierData data = read_classifier(path);
    check_identity(data, model_path, options.allow_variant);
    auto model = Model::load(model_path, options.model);
    if (static_cast<std::size_t>(model->n_embd()) != data.n_features) {
        throw ModelMismatch("the classifier has " + std::to_string(data.n_features) +
                            " features, the model at '" + model_path + "' gives " +
                            std::to_string(model->n_embd()));
    }
    return {std::move(data), std::make_unique<Embedder>(std::move(model), options.embedder)};
}

std::vector<double> Classifier::predict_proba(const std::vector<std::string>& texts) {
    EmbedRequest request;
    request.layers = {data_.layer};
    request.poolings = {data_.pooling};
    request.prompt = data_.prompt;
    request.on_long = data_.on_long;
    std::vector<float> features(texts.size() * data_.n_features);
    embedder_->embed(texts, request, features.data());
    std::vector<double> probabilities(texts.size() * data_.n_classes());
    fastplr::predict_proba(data_, features.data(), texts.size(), probabilities.data());
    return probabilities;
}

std::vector<std::string> Classifier::predict(const std::vector<std::string>& texts) {
    const std::vector<double> probabilities = predict_proba(texts);
    const auto k = static_cast<std::ptrdiff_t>(data_.n_classes());
    std::vector<std::string> labels;
    labels.reserve(texts.size());
    for (auto row = probabilities.begin(); row != probabilities.end(); row += k) {
        labels.push_back(data_.labels[static_cast<std::size_t>(std::max_element(row, row + k) - row)]);
    }
    return labels;
}

}  // namespace fastplr
