// A fitted classifier: everything that is needed to predict, and nothing that can execute.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "fastplr/embedder.hpp"
#include "fastplr/model_identity.hpp"

namespace fastplr {

/// The newest format of the classifier file, which this version writes; it reads all of 1 to this.
inline constexpr int kClassifierFormatVersion = 2;

/// What a classifier learned from, for prediction sets, for telling texts unlike these, and for reports.
struct KeptTraining {
    std::vector<float> features;      ///< row-major [n_texts, n_features], as they were embedded
    std::vector<std::int32_t> codes;  ///< [n_texts], positions among the labels
    std::vector<double> weights;      ///< [n_texts], >= 0, with a positive sum
    /// Row-major [n_texts, n_rows]: logits by fits that had not seen the text; a row of NaN where there was
    /// no such fit.
    std::vector<double> held_out_logits;

    bool empty() const { return codes.empty(); }
};

/// The content of a classifier file. With n_rows = 1 for two classes and n_classes otherwise:
///   logits = coef * ((features - mean) / scale) + intercept
///   probabilities = softmax(logits / temperature + log_prior_ratio)   (two classes: logits (0, logit))
/// Temperature: Guo et al., arXiv 1706.04599, section 4.2. Prior ratio: Saerens, Latinne and Decaestecker,
/// Neural Computation 14 (2002), equation 2.4.
struct ClassifierData {
    // The model and how features are taken from it.
    std::string model_name;  ///< as the user named it: a catalogue name or a path
    ModelIdentity model;
    Prompt prompt;
    int layer = 0;
    Pooling pooling = Pooling::mean;
    OnLong on_long = OnLong::error;

    // What was fitted.
    std::vector<std::string> labels;  ///< in the order of the columns of predict_proba
    std::size_t n_features = 0;
    std::vector<double> mean;       ///< [n_features]
    std::vector<double> scale;      ///< [n_features], > 0
    std::vector<double> coef;       ///< row-major [n_rows, n_features]
    std::vector<double> intercept;  ///< [n_rows]
    double C = 1.0;                 ///< 1 / lambda; infinite without a penalty

    // From logits to probabilities.
    double temperature = 1.0;  ///< > 0
    /// [n_classes]: logarithm of the share that a class has where predictions are made over its share of the
    /// training rows; empty: zeros.
    std::vector<double> log_prior_ratio;

    KeptTraining training;  ///< empty where it was not to be kept

    // For other readers; kept as they are.
    std::vector<std::string> label_kinds;  ///< one of "str", "int", "float", "bool" for each label
    std::string label_dtype;   ///< NumPy's name of the labels' type, "object" where they are mixed
    std::string created_with;  ///< "fastplr 0.1.0"
    std::string annotations;   ///< JSON: the Python object's other parameters and its report

    /// Of the file that it was read from. A file of version 1 has temperature 1, no log_prior_ratio and no
    /// training rows. save_classifier() writes the newest whatever this is.
    int format_version = kClassifierFormatVersion;

    std::size_t n_classes() const { return labels.size(); }
    std::size_t n_rows() const { return labels.size() == 2 ? 1 : labels.size(); }
};

/// Writes a classifier file: GGUF (which llama.cpp's own code reads already; metadata plus float64 tensors).
/// Written to a temporary name beside `path` and renamed, so that `path` is either the old file or the whole
/// new one. Throws InputError (inconsistent data, or a part of more than 1 GiB) or ClassifierFileError
/// (cannot be written).
void save_classifier(const ClassifierData& data, const std::string& path);

/// Throws ClassifierFileError: missing, no classifier, cut short, damaged (a checksum is kept), values that
/// cannot be (the message names the part), from a newer version.
ClassifierData read_classifier(const std::string& path);

/// Logits of `features`, float32 row-major [n_texts, n_features], into `out` [n_texts, n_rows]; for two
/// classes the logit of the second. Temperature and prior ratio play no part. Throws InputError if a feature
/// is not finite, a logit overflows, or the parts of `data` do not fit together.
void decision_function(const ClassifierData& data, const float* features, std::size_t n_texts, double* out);

/// Probabilities of finite `logits` [n_texts, n_rows] into `out`, row-major [n_texts, n_classes], as
/// ClassifierData has them; never NaN. Throws InputError if the parts of `data` do not fit together.
void probabilities(const ClassifierData& data, const double* logits, std::size_t n_texts, double* out);

/// probabilities() of decision_function(). Throws as they do.
void predict_proba(const ClassifierData& data, const float* features, std::size_t n_texts, double* out);

struct ClassifierOptions {
    EmbedderOptions embedder;
    /// Where max_layer is kAllLayers, only the blocks that the classifier's layer needs are loaded.
    ModelOptions model;
    /// Accept another variant of the same source model (another tensor type): predictions then differ a
    /// little.
    bool allow_variant = false;
};

/// A classifier together with the model that it needs.
class Classifier {
  public:
    /// Throws ClassifierFileError (also for a layer that the model does not have), ModelError, ModelMismatch
    /// (the model at `model_path` is not the one it was trained on).
    static Classifier load(const std::string& path, const std::string& model_path,
                           const ClassifierOptions& options = {});

    const ClassifierData& data() const { return data_; }

    /// What embeds for it: explain() and find_counterfactuals() take it with data().
    Embedder& embedder() { return *embedder_; }

    /// Logits, row-major [texts.size(), n_rows]; probabilities() makes probabilities of them without
    /// embedding again. Throws as Embedder::embed.
    std::vector<double> decision_function(const std::vector<std::string>& texts);

    /// Probabilities, row-major [texts.size(), n_classes]. Throws as Embedder::embed.
    std::vector<double> predict_proba(const std::vector<std::string>& texts);

    /// The most probable label of each text; the first of equals.
    std::vector<std::string> predict(const std::vector<std::string>& texts);

  private:
    Classifier(ClassifierData data, std::unique_ptr<Embedder> embedder);

    ClassifierData data_;
    std::unique_ptr<Embedder> embedder_;
};

}  // namespace fastplr
