// Classifiers made up by hand, and the files and folders that tests of them need.
#pragma once

#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "check.hpp"
#include "fastplr/classifier.hpp"

namespace fs = std::filesystem;
using fastplr::ClassifierData;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInf = std::numeric_limits<double>::infinity();

// A folder of its own for every test case.
struct Folder {
    fs::path path;
    Folder() {
        static int count = 0;
        std::random_device random;  // two programs may run at once
        path = fs::temp_directory_path() /
               ("fastplr_test_classifier_" + std::to_string(random()) + "_" + std::to_string(++count));
        fs::remove_all(path);
        fs::create_directory(path);
    }
    ~Folder() { fs::remove_all(path); }
    std::string operator/(const char* name) const { return (path / name).string(); }
    std::size_t n_files() const {
        return static_cast<std::size_t>(std::distance(fs::directory_iterator(path), {}));
    }
};

inline ClassifierData common() {
    ClassifierData data;
    data.model_name = "a model";
    data.model = {std::string(64, 'a'), "Q4_0", "0c1e57098"};
    data.prompt = {"Is it \"good\"? ", " Answer:"};
    data.layer = -1;
    data.pooling = fastplr::Pooling::last;
    data.on_long = fastplr::OnLong::truncate;
    data.n_features = 2;
    data.mean = {1.0, -2.0};
    data.scale = {2.0, 0.5};
    data.C = 0.25;
    data.label_dtype = "object";
    data.created_with = "a test";
    data.annotations = R"({"report": {}})";
    return data;
}

inline ClassifierData two_classes() {
    ClassifierData data = common();
    data.labels = {"no", "yes"};
    data.label_kinds = {"str", "str"};
    data.coef = {3.0, -1.0};
    data.intercept = {0.5};
    return data;
}

inline ClassifierData three_classes() {
    ClassifierData data = common();
    data.labels = {"1", "True", "sch\xC3\xB6n"};
    data.label_kinds = {"int", "bool", "str"};
    data.coef = {1.0, 0.0, 0.0, 1.0, -1.0, -1.0};
    data.intercept = {0.0, 0.5, -0.5};
    return data;
}

/// Three classes with all that version 2 added: a prior, a temperature, and training rows with numbers that
/// a detour through another type would change.
inline ClassifierData calibrated() {
    ClassifierData data = three_classes();
    data.temperature = 1.7;
    data.log_prior_ratio = {0.25, -1.0 / 3.0, -0.0};
    data.training.features = {0.1f,         std::numeric_limits<float>::denorm_min(),
                              -0.0f,        std::numeric_limits<float>::max(),
                              -16777217.0f, 3e-39f};
    data.training.codes = {2, 0, 1};
    data.training.weights = {0.0, 1.0 / 3.0, std::numeric_limits<double>::denorm_min()};
    data.training.held_out_logits = {0.1, -1e300, -0.0, kNan, kNan, kNan, 5e-324, 2.0, -3.0};
    return data;
}

inline std::vector<char> bytes_of(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

inline void write_bytes(const std::string& path, const std::vector<char>& bytes) {
    std::ofstream(path, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

/// Bit by bit: NaN is equal to itself, and 0 is not -0.
template <typename T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
    return a.size() == b.size() && (a.empty() || std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0);
}

/// All but the version.
inline void check_equal(const ClassifierData& found, const ClassifierData& expected) {
    CHECK(found.model_name == expected.model_name);
    CHECK(found.model == expected.model);
    CHECK(found.prompt.prefix == expected.prompt.prefix);
    CHECK(found.prompt.suffix == expected.prompt.suffix);
    CHECK(found.layer == expected.layer);
    CHECK(found.pooling == expected.pooling);
    CHECK(found.on_long == expected.on_long);
    CHECK(found.labels == expected.labels);
    CHECK(found.label_kinds == expected.label_kinds);
    CHECK(found.label_dtype == expected.label_dtype);
    CHECK(found.n_features == expected.n_features);
    CHECK(same_bits(found.mean, expected.mean));
    CHECK(same_bits(found.scale, expected.scale));
    CHECK(same_bits(found.coef, expected.coef));
    CHECK(same_bits(found.intercept, expected.intercept));
    CHECK(found.C == expected.C);
    CHECK(found.temperature == expected.temperature);
    CHECK(same_bits(found.log_prior_ratio, expected.log_prior_ratio));
    CHECK(same_bits(found.training.features, expected.training.features));
    CHECK(same_bits(found.training.codes, expected.training.codes));
    CHECK(same_bits(found.training.weights, expected.training.weights));
    CHECK(same_bits(found.training.held_out_logits, expected.training.held_out_logits));
    CHECK(found.created_with == expected.created_with);
    CHECK(found.annotations == expected.annotations);
}
