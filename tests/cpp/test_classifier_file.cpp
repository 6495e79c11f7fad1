// The classifier file as it is written: round trip, what is refused before writing, and damage. Files that
// were written by others are in test_classifier_format.cpp.
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <limits>
#include <string>
#include <thread>
#include <vector>

#include "check.hpp"
#include "classifier_data.hpp"
#include "embedding/text.hpp"
#include "fastplr/classifier.hpp"

namespace {

using fastplr::ClassifierData;
using fastplr::ClassifierFileError;
using fastplr::InputError;

template <typename Change>
void check_refused(Change change, const char* fragment) {
    const Folder folder;
    ClassifierData data = two_classes();
    change(data);
    CHECK_THROWS(fastplr::save_classifier(data, folder / "c"), InputError, fragment);
    CHECK(folder.n_files() == 0);
}

}  // namespace

TEST_CASE("every field comes back as it was") {
    const Folder folder;
    ClassifierData extreme = two_classes();
    extreme.C = kInf;
    extreme.coef = {std::numeric_limits<double>::denorm_min(), -0.0};
    extreme.mean = {1.0 / 3.0, std::numeric_limits<double>::max()};
    extreme.prompt = {};
    for (const ClassifierData& data : {two_classes(), three_classes(), calibrated(), extreme}) {
        fastplr::save_classifier(data, folder / "c");
        check_equal(fastplr::read_classifier(folder / "c"), data);
        CHECK(fastplr::read_classifier(folder / "c").format_version == 2);
    }
    CHECK(folder.n_files() == 1);
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
    check_refused([](ClassifierData& d) { d.layer = -2; }, "layer is -2");
    check_refused([](ClassifierData& d) { d.temperature = 0; }, "temperature is 0");
    check_refused([](ClassifierData& d) { d.temperature = kNan; }, "temperature is nan");
    check_refused([](ClassifierData& d) { d.temperature = kInf; }, "temperature is inf");
    check_refused([](ClassifierData& d) { d.log_prior_ratio = {1}; },
                  "log_prior_ratio has 1 values, expected 2");
    check_refused([](ClassifierData& d) { d.log_prior_ratio = {0, kNan}; }, "log_prior_ratio holds nan");
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

TEST_CASE("inconsistent training rows are not written") {
    const auto check = [](auto change, const char* fragment) {
        check_refused(
            [&](ClassifierData& d) {
                d = calibrated();
                change(d.training);
            },
            fragment);
    };
    using fastplr::KeptTraining;
    check([](KeptTraining& t) { t.features.pop_back(); }, "training.features has 5 values, expected 6");
    check([](KeptTraining& t) { t.codes.clear(); }, "training.features has 6 values, expected 0");
    check([](KeptTraining& t) { t.weights.push_back(1); }, "training.weights has 4 values, expected 3");
    check([](KeptTraining& t) { t.held_out_logits.clear(); },
          "training.held_out_logits has 0 values, expected 9");
    check([](KeptTraining& t) { t.features[1] = std::numeric_limits<float>::infinity(); },
          "training.features holds inf");
    check([](KeptTraining& t) { t.codes[0] = 3; }, "training.codes holds 3, expected 0 to 2");
    check([](KeptTraining& t) { t.weights[0] = -1; }, "training.weights holds -1");
    check([](KeptTraining& t) { t.weights.assign(3, 0.0); }, "training.weights adds up to 0");
    check([](KeptTraining& t) { t.held_out_logits[0] = -kInf; }, "training.held_out_logits holds -inf");
    check([](KeptTraining& t) { t.held_out_logits[0] = kNan; }, "held_out_logits is NaN in a part of row 0");
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
    fastplr::save_classifier(calibrated(), folder / "c");
    const std::vector<char> whole = bytes_of(folder / "c");
    // The last tensor has 9 values of 8 bytes, and 24 bytes of padding.
    for (std::size_t length = 0; length < whole.size() - 24; ++length) {
        write_bytes(folder / "part", {whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(length)});
        CHECK_THROWS(fastplr::read_classifier(folder / "part"), ClassifierFileError,
                     "is no usable classifier file");
    }
}

TEST_CASE("a flipped bit is found or does not matter") {
    const Folder folder;
    fastplr::save_classifier(calibrated(), folder / "c");
    const std::vector<char> whole = bytes_of(folder / "c");
    std::size_t n_refused = 0;
    for (std::size_t i = 0; i < whole.size(); ++i) {
        // The highest bit makes text no UTF-8: the message must be all the same.
        for (const int bit : {static_cast<int>(i % 7), 7}) {
            std::vector<char> damaged = whole;
            damaged[i] = static_cast<char>(damaged[i] ^ (1 << bit));
            write_bytes(folder / "damaged", damaged);
            try {
                check_equal(fastplr::read_classifier(folder / "damaged"), calibrated());
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
                 "format version 3, this fastplr reads up to 2: install a newer fastplr");
    set_version(0);
    CHECK_THROWS(fastplr::read_classifier(folder / "other"), ClassifierFileError, "format version is 0");
    // As an older file it would say too little: the checksum knows.
    set_version(1);
    CHECK_THROWS(fastplr::read_classifier(folder / "other"), ClassifierFileError, "checksum does not match");
    set_version(fastplr::kClassifierFormatVersion);
    check_equal(fastplr::read_classifier(folder / "other"), two_classes());
}
