// Predicting with a classifier: logits and probabilities against numbers computed by hand, and texts to
// labels with a tiny model.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <iostream>
#include <limits>
#include <string>
#include <vector>

#include "check.hpp"
#include "classifier_data.hpp"
#include "fastplr/classifier.hpp"

namespace {

using fastplr::ClassifierFileError;
using fastplr::InputError;

std::vector<double> logits_of(const ClassifierData& data, const std::vector<float>& features) {
    const std::size_t n = features.size() / data.n_features;
    std::vector<double> logits(n * data.n_rows());
    fastplr::decision_function(data, features.data(), n, logits.data());
    return logits;
}

std::vector<double> probabilities_of(const ClassifierData& data, const std::vector<double>& logits) {
    const std::size_t n = logits.size() / data.n_rows();
    std::vector<double> p(n * data.n_classes());
    fastplr::probabilities(data, logits.data(), n, p.data());
    return p;
}

}  // namespace

TEST_CASE("logits and probabilities of two classes, by hand") {
    // x = (3, -1): ((3 - 1) / 2, (-1 + 2) / 0.5) = (1, 2); 3 * 1 - 1 * 2 + 0.5 = 1.5.
    // x = mean: the intercept, 0.5.
    const std::vector<float> features = {3.0f, -1.0f, 1.0f, -2.0f};
    std::vector<double> logits(2);
    fastplr::decision_function(two_classes(), features.data(), 2, logits.data());
    CHECK_NEAR(logits[0], 1.5, 1e-15);
    CHECK_NEAR(logits[1], 0.5, 1e-15);
    std::vector<double> p(4);
    fastplr::predict_proba(two_classes(), features.data(), 2, p.data());
    CHECK_NEAR(p[0], 0.18242552380635635, 1e-15);  // 1 / (1 + e^1.5)
    CHECK_NEAR(p[1], 0.81757447619364365, 1e-15);
    CHECK_NEAR(p[2], 0.37754066879814546, 1e-15);  // 1 / (1 + e^0.5)
    CHECK_NEAR(p[3], 0.62245933120185459, 1e-15);
}

TEST_CASE("logits and probabilities of three classes, by hand") {
    // z = (1, 2) as above: logits 1, 2.5, -3.5.
    const std::vector<float> features = {3.0f, -1.0f};
    std::vector<double> logits(3);
    fastplr::decision_function(three_classes(), features.data(), 1, logits.data());
    CHECK_NEAR(logits[0], 1.0, 1e-15);
    CHECK_NEAR(logits[1], 2.5, 1e-15);
    CHECK_NEAR(logits[2], -3.5, 1e-15);
    const double total = std::exp(1.0) + std::exp(2.5) + std::exp(-3.5);
    std::vector<double> p(3);
    fastplr::predict_proba(three_classes(), features.data(), 1, p.data());
    CHECK_NEAR(p[0], std::exp(1.0) / total, 1e-15);
    CHECK_NEAR(p[1], std::exp(2.5) / total, 1e-15);
    CHECK_NEAR(p[2], std::exp(-3.5) / total, 1e-15);
}

TEST_CASE("large logits neither overflow nor lose the small probability") {
    ClassifierData data = two_classes();
    data.coef = {400.0, 0.0};
    const std::vector<float> features = {3.0f, -2.0f};  // logit 400.5
    std::vector<double> p(2);
    fastplr::predict_proba(data, features.data(), 1, p.data());
    CHECK_NEAR(p[0] / std::exp(-400.5), 1.0, 1e-12);
    CHECK(p[1] == 1.0);
    data = three_classes();
    for (double& coef : data.coef) coef *= 1e4;
    std::vector<double> three(3);
    fastplr::predict_proba(data, features.data(), 1, three.data());
    CHECK(three[0] == 1.0 && three[1] == 0.0 && three[2] == 0.0);
}

TEST_CASE("a feature that is not finite is refused") {
    std::vector<double> out(4);
    for (const float bad : {std::nanf(""), HUGE_VALF, -HUGE_VALF}) {
        const std::vector<float> features = {0.0f, 0.0f, 1.0f, bad};
        CHECK_THROWS(fastplr::decision_function(two_classes(), features.data(), 2, out.data()), InputError,
                     "feature 1 of row 1");
        CHECK_THROWS(fastplr::predict_proba(two_classes(), features.data(), 2, out.data()), InputError,
                     "feature 1 of row 1");
    }
}

TEST_CASE("temperature and prior ratio change probabilities and not logits, by hand") {
    const std::vector<float> features = {3.0f, -1.0f};  // logit 1.5; logits 1, 2.5, -3.5
    ClassifierData data = two_classes();
    data.temperature = 2.0;
    data.log_prior_ratio = {std::log(0.5), std::log(4.0)};
    CHECK_NEAR(logits_of(data, features)[0], 1.5, 1e-15);
    // odds e^(1.5 / 2) * 4 / 0.5
    const double odds = 8 * std::exp(0.75);
    std::vector<double> p = probabilities_of(data, {1.5});
    CHECK_NEAR(p[0], 1 / (1 + odds), 1e-15);
    CHECK_NEAR(p[1], odds / (1 + odds), 1e-15);

    data = three_classes();
    data.temperature = 0.5;
    data.log_prior_ratio = {std::log(2.0), std::log(0.25), std::log(3.0)};
    CHECK_NEAR(logits_of(data, features)[1], 2.5, 1e-15);
    const double weights[] = {2 * std::exp(2.0), 0.25 * std::exp(5.0), 3 * std::exp(-7.0)};
    std::vector<double> three(3);
    fastplr::predict_proba(data, features.data(), 1, three.data());
    for (int c = 0; c < 3; ++c)
        CHECK_NEAR(three[c], weights[c] / (weights[0] + weights[1] + weights[2]), 1e-15);
}

TEST_CASE("a prior can turn the label around") {
    ClassifierData data = two_classes();
    data.log_prior_ratio = {2.0, 0.0};
    const std::vector<double> p = probabilities_of(data, {1.5});
    CHECK(p[0] > p[1]);
    CHECK_NEAR(p[0], 1 / (1 + std::exp(-0.5)), 1e-15);
}

TEST_CASE("probabilities are numbers whatever the finite logits are") {
    constexpr double kMax = std::numeric_limits<double>::max();
    const std::vector<double> extremes = {0.0, -0.0, 1.0, -745.2, 1e300, kMax, -kMax};
    const double temperatures[] = {std::numeric_limits<double>::denorm_min(), 0.05, 1.0, kMax};
    for (ClassifierData data : {two_classes(), three_classes()}) {
        const std::size_t k = data.n_classes();
        std::vector<double> logits;
        for (const double a : extremes) {
            for (const double b : extremes) {
                for (const double c : extremes) {
                    logits.push_back(a);
                    if (k == 3) logits.insert(logits.end(), {b, c});
                }
            }
        }
        for (const double temperature : temperatures) {
            for (const double ratio : {0.0, 30.0, -kMax, kMax}) {
                data.temperature = temperature;
                data.log_prior_ratio.assign(k, -ratio);
                data.log_prior_ratio[0] = ratio;
                const std::vector<double> p = probabilities_of(data, logits);
                for (std::size_t i = 0; i < p.size(); i += k) {
                    double total = 0;
                    for (std::size_t c = 0; c < k; ++c) {
                        CHECK(p[i + c] >= 0 && p[i + c] <= 1);
                        total += p[i + c];
                    }
                    CHECK_NEAR(total, 1.0, 1e-12);
                }
            }
        }
    }
}

TEST_CASE("a logit that overflows is refused") {
    ClassifierData data = two_classes();
    data.coef = {std::numeric_limits<double>::max(), 0.0};
    std::vector<double> out(2);
    const std::vector<float> features = {1e30f, 0.0f};
    CHECK_THROWS(fastplr::decision_function(data, features.data(), 1, out.data()), InputError,
                 "the logit of row 0 is inf");
    data.scale = {std::numeric_limits<double>::denorm_min(), 1.0};
    CHECK_THROWS(fastplr::predict_proba(data, features.data(), 1, out.data()), InputError,
                 "the logit of row 0");
}

TEST_CASE("parts that do not fit together are refused before they are read") {
    const std::vector<float> features = {0.0f, 0.0f};
    const std::vector<double> logits = {0.0, 0.0, 0.0};
    std::vector<double> out(3);
    const auto check = [&](auto change, const char* fragment) {
        ClassifierData data = three_classes();
        change(data);
        CHECK_THROWS(fastplr::decision_function(data, features.data(), 1, out.data()), InputError, fragment);
        CHECK_THROWS(fastplr::predict_proba(data, features.data(), 1, out.data()), InputError, fragment);
        CHECK_THROWS(fastplr::probabilities(data, logits.data(), 1, out.data()), InputError, fragment);
    };
    check([](ClassifierData& d) { d.temperature = 0; }, "temperature is 0");
    check([](ClassifierData& d) { d.temperature = kNan; }, "temperature is nan");
    check([](ClassifierData& d) { d.log_prior_ratio = {0.0}; }, "log_prior_ratio has 1 values, expected 3");
    check([](ClassifierData& d) { d.log_prior_ratio = {0.0, kInf, 0.0}; }, "log_prior_ratio holds inf");
    check([](ClassifierData& d) { d.coef.pop_back(); }, "coef has 5 values, expected 6");
    check([](ClassifierData& d) { d.mean.clear(); }, "mean has 0 values, expected 2");
    check([](ClassifierData& d) { d.scale.clear(); }, "scale has 0 values, expected 2");
    check([](ClassifierData& d) { d.intercept.clear(); }, "intercept has 0 values, expected 3");
    check([](ClassifierData& d) { d.labels.clear(); }, "0 labels");
}

TEST_CASE("texts to logits, probabilities and labels with a model") {
    const char* model_path = std::getenv("FASTPLR_TEST_MODEL");
    if (model_path == nullptr) {
        std::cout << "skipped: FASTPLR_TEST_MODEL names no model (tests/python/test_cpp_core.py sets it)\n";
        return;
    }
    const fastplr::ModelInfo info = fastplr::read_model_info(model_path);
    const auto width = static_cast<std::size_t>(info.n_embd);
    ClassifierData data = three_classes();
    data.model = fastplr::model_identity(model_path);
    data.layer = 1;
    data.pooling = fastplr::Pooling::mean_all;
    data.n_features = width;
    data.mean.assign(width, 0.0);
    data.scale.assign(width, 1.0);
    data.coef.clear();
    for (std::size_t i = 0; i < 3 * width; ++i) data.coef.push_back(std::sin(static_cast<double>(i)));
    data.temperature = 3.0;
    data.log_prior_ratio = {0.0, -0.5, 1.0};
    const Folder folder;
    fastplr::save_classifier(data, folder / "c");

    fastplr::Classifier classifier = fastplr::Classifier::load(folder / "c", model_path);
    check_equal(classifier.data(), data);
    const std::vector<std::string> texts = {"good", "A bad day.", "42"};
    const std::vector<double> logits = classifier.decision_function(texts);
    const std::vector<double> p = classifier.predict_proba(texts);
    const std::vector<std::string> labels = classifier.predict(texts);
    CHECK(logits.size() == 9);
    CHECK(p == probabilities_of(data, logits));

    // The same with an embedder of our own on the whole model.
    fastplr::Embedder embedder(fastplr::Model::load(model_path));
    fastplr::EmbedRequest request;
    request.layers = {1};
    request.poolings = {fastplr::Pooling::mean_all};
    request.prompt = data.prompt;
    std::vector<float> features(3 * width);
    embedder.embed(texts, request, features.data());
    for (std::size_t i = 0; i < 9; ++i) CHECK_NEAR(logits[i], logits_of(data, features)[i], 1e-6);
    for (std::size_t i = 0; i < 3; ++i) {
        const auto row = p.begin() + static_cast<std::ptrdiff_t>(3 * i);
        CHECK(labels[i] == data.labels[static_cast<std::size_t>(std::max_element(row, row + 3) - row)]);
    }

    data.layer = info.n_layers + 1;
    fastplr::save_classifier(data, folder / "deep");
    CHECK_THROWS(fastplr::Classifier::load(folder / "deep", model_path), ClassifierFileError, "uses layer");
}
