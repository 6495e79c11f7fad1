// The classifier file and what is computed from it, without a model: round trip, every error, and logits and
// probabilities against numbers computed by hand.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <limits>
#include <string>
#include <thread>
#include <vector>

#include "check.hpp"
#include "embedding/text.hpp"
#include "fastplr/classifier.hpp"

namespace {

namespace fs = std::filesystem;
using fastplr::ClassifierData;
using fastplr::ClassifierFileError;
using fastplr::InputError;

// A folder of its own for every test case.
struct Folder {
    fs::path path;
    Folder() {
        static int count = 0;
        path = fs::temp_directory_path() / ("fastplr_test_classifier_file_" + std::to_string(++count));
        fs::remove_all(path);
        fs::create_directory(path);
    }
    ~Folder() { fs::remove_all(path); }
    std::string operator/(const char* name) const { return (path / name).string(); }
    std::size_t n_files() const {
        return static_cast<std::size_t>(std::distance(fs::directory_iterator(path), {}));
    }
};

ClassifierData common() {
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

ClassifierData two_classes() {
    ClassifierData data = common();
    data.labels = {"no", "yes"};
    data.label_kinds = {"str", "str"};
    data.coef = {3.0, -1.0};
    data.intercept = {0.5};
    return data;
}

ClassifierData three_classes() {
    ClassifierData data = common();
    data.labels = {"1", "True", "sch\xC3\xB6n"};
    data.label_kinds = {"int", "bool", "str"};
    data.coef = {1.0, 0.0, 0.0, 1.0, -1.0, -1.0};
    data.intercept = {0.0, 0.5, -0.5};
    return data;
}

std::vector<char> bytes_of(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
}

void write_bytes(const std::string& path, const std::vector<char>& bytes) {
    std::ofstream(path, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
}

void check_equal(const ClassifierData& found, const ClassifierData& expected) {
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
    CHECK(found.mean == expected.mean);
    CHECK(found.scale == expected.scale);
    CHECK(found.coef == expected.coef);
    CHECK(found.intercept == expected.intercept);
    CHECK(found.C == expected.C);
    CHECK(found.created_with == expected.created_with);
    CHECK(found.annotations == expected.annotations);
}

template <typename Change>
void check_refused(Change change, const char* fragment) {
    const Folder folder;
    ClassifierData data = two_classes();
    change(data);
    CHECK_THROWS(fastplr::save_classifier(data, folder / "c"), InputError, fragment);
    CHECK(folder.n_files() == 0);
}

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInf = std::numeric_limits<double>::infinity();

}  // namespace

TEST_CASE("every field comes back as it was") {
    const Folder folder;
    ClassifierData extreme = two_classes();
    extreme.C = kInf;
    extreme.coef = {std::numeric_limits<double>::denorm_min(), -0.0};
    extreme.mean = {1.0 / 3.0, std::numeric_limits<double>::max()};
    extreme.prompt = {};
    for (const ClassifierData& data : {two_classes(), three_classes(), extreme}) {
        fastplr::save_classifier(data, folder / "c");
        check_equal(fastplr::read_classifier(folder / "c"), data);
    }
    CHECK(folder.n_files() == 1);
}

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

TEST_CASE("inconsistent data is not written") {
    check_refused([](ClassifierData& d) { d.labels = {"only"}; }, "1 labels, expected 2");
    check_refused([](ClassifierData& d) { d.mean.pop_back(); }, "mean has 1 values, expected 2");
    check_refused([](ClassifierData& d) { d.scale.push_back(1); }, "scale has 3 values, expected 2");
    check_refused([](ClassifierData& d) { d.coef.clear(); }, "coef has 0 values, expected 2");
    check_refused([](ClassifierData& d) { d.intercept = {1, 2}; }, "intercept has 2 values, expected 1");
    check_refused([](ClassifierData& d) { d.label_kinds.pop_back(); }, "label_kinds has 1 values");
    check_refused([](ClassifierData& d) { d.scale[0] = 0; }, "scale holds 0");
    check_refused([](ClassifierData& d) { d.coef[1] = kNan; }, "coef holds nan");
    check_refused([](ClassifierData& d) { d.mean[1] = kInf; }, "mean holds inf");
    check_refused([](ClassifierData& d) { d.intercept[0] = -kInf; }, "intercept holds -inf");
    check_refused([](ClassifierData& d) { d.C = 0; }, "C is 0");
    check_refused([](ClassifierData& d) { d.C = kNan; }, "C is nan");
    check_refused([](ClassifierData& d) { d.labels[0] = "\xFF"; }, "a label");
    check_refused([](ClassifierData& d) { d.prompt.suffix = "a\xC3"; }, "a text");
    check_refused([](ClassifierData& d) { d.model_name = std::string("a\0b", 3); }, "NUL");
    check_refused([](ClassifierData& d) { d.labels[0] = std::string("a\0b", 3); }, "NUL");
    check_refused(
        [](ClassifierData& d) {
            d.n_features = 0;
            d.mean = d.scale = d.coef = {};
        },
        "0 features");
}

TEST_CASE("what cannot be written to is said, and nothing is left behind") {
    const Folder folder;
    fs::create_directory(folder.path / "directory");
    CHECK_THROWS(fastplr::save_classifier(two_classes(), folder / "directory"), ClassifierFileError,
                 "it is a directory");
    CHECK_THROWS(fastplr::save_classifier(two_classes(), folder / "missing/c"), ClassifierFileError,
                 "there is no directory");
    CHECK(folder.n_files() == 1);
#if defined(__linux__)
    CHECK_THROWS(fastplr::save_classifier(two_classes(), "/dev/null"), ClassifierFileError,
                 "not a regular file");
    CHECK(!fs::is_regular_file("/dev/null"));
#endif
}

TEST_CASE("several threads may save to the same path") {
    const Folder folder;
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t) {
        threads.emplace_back([&folder] {
            for (int i = 0; i < 20; ++i) fastplr::save_classifier(three_classes(), folder / "c");
        });
    }
    for (std::thread& thread : threads) thread.join();
    check_equal(fastplr::read_classifier(folder / "c"), three_classes());
    CHECK(folder.n_files() == 1);
}

TEST_CASE("what is no classifier file is said") {
    const Folder folder;
    CHECK_THROWS(fastplr::read_classifier(folder / "missing"), ClassifierFileError, "no such file");
    CHECK_THROWS(fastplr::read_classifier(folder.path.string()), ClassifierFileError, "is a directory");
    write_bytes(folder / "empty", {});
    CHECK_THROWS(fastplr::read_classifier(folder / "empty"), ClassifierFileError, "is empty");
    write_bytes(folder / "text", {'t', 'e', 'x', 't', '\n'});
    CHECK_THROWS(fastplr::read_classifier(folder / "text"), ClassifierFileError, "begins with 'text'");
}

TEST_CASE("a file cut short anywhere is refused") {
    const Folder folder;
    fastplr::save_classifier(three_classes(), folder / "c");
    const std::vector<char> whole = bytes_of(folder / "c");
    // The last tensor has 3 values of 8 bytes, and up to 31 bytes of padding.
    for (std::size_t length = 0; length < whole.size() - 31; ++length) {
        write_bytes(folder / "part", {whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(length)});
        CHECK_THROWS(fastplr::read_classifier(folder / "part"), ClassifierFileError,
                     "is no usable classifier file");
    }
}

TEST_CASE("a flipped bit is found or does not matter") {
    const Folder folder;
    fastplr::save_classifier(three_classes(), folder / "c");
    const std::vector<char> whole = bytes_of(folder / "c");
    std::size_t n_refused = 0;
    for (std::size_t i = 0; i < whole.size(); ++i) {
        // The highest bit makes text no UTF-8: the message must be all the same.
        for (const int bit : {static_cast<int>(i % 7), 7}) {
            std::vector<char> damaged = whole;
            damaged[i] = static_cast<char>(damaged[i] ^ (1 << bit));
            write_bytes(folder / "damaged", damaged);
            try {
                check_equal(fastplr::read_classifier(folder / "damaged"), three_classes());
            } catch (const ClassifierFileError& error) {
                fastplr::check_utf8(error.what(), "the message");
                ++n_refused;
            }
        }
    }
    CHECK(n_refused > whole.size());
}

TEST_CASE("a format version that this build does not know") {
    const Folder folder;
    fastplr::save_classifier(two_classes(), folder / "c");
    std::vector<char> bytes = bytes_of(folder / "c");
    const std::string key = "fastplr.format_version";
    const auto found = std::search(bytes.begin(), bytes.end(), key.begin(), key.end());
    char* value = &*found + key.size() + sizeof(std::uint32_t);  // after the type of the value
    const auto set_version = [&](std::uint32_t version) {
        std::memcpy(value, &version, sizeof version);
        write_bytes(folder / "other", bytes);
    };
    set_version(fastplr::kClassifierFormatVersion + 1);
    CHECK_THROWS(fastplr::read_classifier(folder / "other"), ClassifierFileError,
                 "format version 2, this fastplr reads up to 1: install a newer fastplr");
    set_version(0);
    CHECK_THROWS(fastplr::read_classifier(folder / "other"), ClassifierFileError, "format version is 0");
    set_version(fastplr::kClassifierFormatVersion);
    check_equal(fastplr::read_classifier(folder / "other"), two_classes());
}
