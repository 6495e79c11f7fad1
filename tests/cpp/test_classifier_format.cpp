// Classifier files written here byte by byte from docs/classifier_file.md, not by the library: files of
// version 1, what other writers may do, and everything that must be refused by name.
#include <cmath>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "check.hpp"
#include "classifier_data.hpp"
#include "fastplr/classifier.hpp"
#include "fastplr/sha256.hpp"

namespace {

using fastplr::ClassifierFileError;

enum Type : std::uint32_t { kUint32 = 4, kInt32 = 5, kString = 8, kArray = 9, kFloat64 = 12 };
enum TensorType : std::uint32_t { kF32 = 0, kI32 = 26, kF64 = 28 };

template <typename T>
std::string raw(T value) {
    return {reinterpret_cast<const char*>(&value), sizeof value};
}

template <typename T>
std::string raw_all(const std::vector<T>& values) {
    return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

std::string with_length(const std::string& text) { return raw<std::uint64_t>(text.size()) + text; }

std::string padded(std::string bytes) {
    bytes.resize((bytes.size() + 31) / 32 * 32, '\0');
    return bytes;
}

std::string text_value(const std::string& text) { return raw<std::uint32_t>(kString) + with_length(text); }

std::string number_value(double number) { return raw<std::uint32_t>(kFloat64) + raw(number); }

std::string array_value(Type type, std::uint64_t count, const std::string& elements) {
    return raw<std::uint32_t>(kArray) + raw<std::uint32_t>(type) + raw(count) + elements;
}

std::string doubles_value(const std::vector<double>& values) {
    return array_value(kFloat64, values.size(), raw_all(values));
}

std::string texts_value(const std::vector<std::string>& texts) {
    std::string all;
    for (const std::string& text : texts) all += with_length(text);
    return array_value(kString, texts.size(), all);
}

struct Tensor {
    std::string name;
    std::vector<std::uint64_t> dims;  // fastest varying first
    std::uint32_t type;
    std::string data;
    std::uint64_t hole = 0;  // bytes, a multiple of 32, that follow and are nowhere; only of the last tensors
};

// A file in parts that a test may change.
struct Parts {
    std::vector<std::pair<std::string, std::string>> entries;  // keys, and types with values
    std::vector<Tensor> tensors;

    std::string& value(const std::string& key) {
        for (auto& [found, value] : entries) {
            if (found == key) return value;
        }
        return entries.emplace_back(key, "").second;
    }
    void remove(const std::string& key) {
        std::erase_if(entries, [&](const auto& entry) { return entry.first == key; });
    }
    Tensor& tensor(const std::string& name) {
        for (Tensor& tensor : tensors) {
            if (tensor.name == name) return tensor;
        }
        return tensors.emplace_back();
    }
    void remove_tensor(const std::string& name) {
        std::erase_if(tensors, [&](const Tensor& tensor) { return tensor.name == name; });
    }

    std::string bytes() const {
        std::string file = "GGUF" + raw<std::uint32_t>(3) + raw<std::uint64_t>(tensors.size()) +
                           raw<std::uint64_t>(entries.size());
        for (const auto& [key, value] : entries) file += with_length(key) + value;
        std::string data;
        std::uint64_t holes = 0;
        for (const Tensor& tensor : tensors) {
            file += with_length(tensor.name) + raw(static_cast<std::uint32_t>(tensor.dims.size())) +
                    raw_all(tensor.dims) + raw(tensor.type) + raw<std::uint64_t>(data.size() + holes);
            data = padded(data + tensor.data);
            holes += tensor.hole;
        }
        return padded(file) + data;
    }

    std::string written(const Folder& folder) const {
        const std::string file = bytes();
        write_bytes(folder / "c", {file.begin(), file.end()});
        return folder / "c";
    }
};

std::string digest(const ClassifierData& d, int version) {
    const auto counted = [](std::size_t n) {
        const std::string text = std::to_string(n);
        return std::to_string(text.size()) + ":" + text;
    };
    const auto framed = [](const std::string& text) { return std::to_string(text.size()) + ":" + text; };
    const auto texts = [&](const std::vector<std::string>& all) {
        std::string bytes = counted(all.size());
        for (const std::string& text : all) bytes += framed(text);
        return bytes;
    };
    const auto numbers = [&](const auto& values) { return counted(values.size()) + raw_all(values); };
    std::string bytes = texts({d.created_with, d.model_name, d.model.source_sha256, d.model.tensor_type,
                               d.model.llama_cpp_commit, d.prompt.prefix, d.prompt.suffix,
                               std::to_string(d.layer), "last", "truncate"});
    bytes += texts(d.labels) + texts(d.label_kinds) + texts({d.label_dtype, d.annotations});
    bytes += numbers(std::vector<double>{d.C}) + numbers(d.mean) + numbers(d.scale) + numbers(d.coef);
    bytes += numbers(d.intercept);
    if (version == 2) {
        bytes += numbers(std::vector<double>{d.temperature}) + numbers(d.log_prior_ratio);
        bytes += numbers(d.training.features) + numbers(d.training.codes) + numbers(d.training.weights);
        bytes += numbers(d.training.held_out_logits);
    }
    fastplr::Sha256 sha256;
    sha256.update(bytes.data(), bytes.size());
    return sha256.hex_digest();
}

// In the order in which fastplr writes.
Parts parts_of(const ClassifierData& d, int version) {
    Parts parts;
    parts.entries = {
        {"general.architecture", text_value("fastplr-classifier")},
        {"fastplr.format_version", raw<std::uint32_t>(kUint32) + raw(static_cast<std::uint32_t>(version))},
        {"fastplr.created_with", text_value(d.created_with)},
        {"fastplr.model.name", text_value(d.model_name)},
        {"fastplr.model.source_sha256", text_value(d.model.source_sha256)},
        {"fastplr.model.tensor_type", text_value(d.model.tensor_type)},
        {"fastplr.model.llama_cpp_commit", text_value(d.model.llama_cpp_commit)},
        {"fastplr.prompt.prefix", text_value(d.prompt.prefix)},
        {"fastplr.prompt.suffix", text_value(d.prompt.suffix)},
        {"fastplr.layer", raw<std::uint32_t>(kInt32) + raw<std::int32_t>(d.layer)},
        {"fastplr.pooling", text_value("last")},
        {"fastplr.on_long", text_value("truncate")},
        {"fastplr.labels", texts_value(d.labels)},
        {"fastplr.label_kinds", texts_value(d.label_kinds)},
        {"fastplr.label_dtype", text_value(d.label_dtype)},
        {"fastplr.C", number_value(d.C)},
    };
    if (version == 2) {
        parts.entries.emplace_back("fastplr.temperature", number_value(d.temperature));
        if (!d.log_prior_ratio.empty())
            parts.entries.emplace_back("fastplr.log_prior_ratio", doubles_value(d.log_prior_ratio));
    }
    parts.entries.emplace_back("fastplr.annotations", text_value(d.annotations));
    parts.entries.emplace_back("fastplr.checksum", text_value(digest(d, version)));

    const auto shape = [](std::uint64_t n_columns, std::uint64_t n_rows) {
        return n_rows == 1 ? std::vector{n_columns} : std::vector{n_columns, n_rows};
    };
    const std::uint64_t p = d.n_features, rows = d.n_rows(), n = d.training.codes.size();
    parts.tensors = {
        {"mean", {p}, kF64, raw_all(d.mean)},
        {"scale", {p}, kF64, raw_all(d.scale)},
        {"coef", shape(p, rows), kF64, raw_all(d.coef)},
        {"intercept", {rows}, kF64, raw_all(d.intercept)},
    };
    if (version == 2 && n > 0) {
        parts.tensors.push_back({"training.features", shape(p, n), kF32, raw_all(d.training.features)});
        parts.tensors.push_back({"training.codes", {n}, kI32, raw_all(d.training.codes)});
        parts.tensors.push_back({"training.weights", {n}, kF64, raw_all(d.training.weights)});
        parts.tensors.push_back(
            {"training.held_out_logits", shape(rows, n), kF64, raw_all(d.training.held_out_logits)});
    }
    return parts;
}

ClassifierData two_classes_with_training(std::size_t n) {
    ClassifierData data = two_classes();
    data.training.features.assign(2 * n, 0.5f);
    data.training.codes.assign(n, 1);
    data.training.weights.assign(n, 1.0);
    data.training.held_out_logits.assign(n, kNan);
    return data;
}

template <typename T>
std::function<void(Parts&)> numbers(const char* name, std::vector<T> values) {
    return [=](Parts& parts) { parts.tensor(name).data = raw_all(values); };
}

std::function<void(Parts&)> shape(const char* name, std::vector<std::uint64_t> dims) {
    return [=](Parts& parts) { parts.tensor(name).dims = dims; };
}

std::function<void(Parts&)> value(const char* key, std::string bytes) {
    return [=](Parts& parts) { parts.value(key) = bytes; };
}

std::function<void(Parts&)> without(const char* key) {
    return [=](Parts& parts) { parts.remove(key); };
}

std::function<void(Parts&)> without_tensor(const char* name) {
    return [=](Parts& parts) { parts.remove_tensor(name); };
}

struct Refusal {
    std::function<void(Parts&)> change;
    const char* fragment;
};

// Three classes, two features, three training rows.
void check_refusals(const std::vector<Refusal>& refusals) {
    for (const Refusal& refusal : refusals) {
        const Folder folder;
        Parts parts = parts_of(calibrated(), 2);
        refusal.change(parts);
        CHECK_THROWS(fastplr::read_classifier(parts.written(folder)), ClassifierFileError, refusal.fragment);
    }
}

}  // namespace

TEST_CASE("the library writes these bytes") {
    for (const ClassifierData& data : {two_classes(), three_classes(), calibrated(),
                                       two_classes_with_training(1), two_classes_with_training(4)}) {
        const Folder folder;
        fastplr::save_classifier(data, folder / "c");
        const std::vector<char> found = bytes_of(folder / "c");
        CHECK(std::string(found.begin(), found.end()) == parts_of(data, 2).bytes());
        check_equal(fastplr::read_classifier(folder / "c"), data);
    }
}

TEST_CASE("a file of version 1 is read, and written again as version 2") {
    for (const ClassifierData& data : {two_classes(), three_classes()}) {
        const Folder folder;
        const ClassifierData found = fastplr::read_classifier(parts_of(data, 1).written(folder));
        CHECK(found.format_version == 1);
        CHECK(found.temperature == 1.0);
        CHECK(found.log_prior_ratio.empty());
        CHECK(found.training.empty());
        check_equal(found, data);
        fastplr::save_classifier(found, folder / "again");
        CHECK(fastplr::read_classifier(folder / "again").format_version == 2);
        check_equal(fastplr::read_classifier(folder / "again"), data);
    }
}

TEST_CASE("a file of version 1 keeps its own checksum") {
    const Folder folder;
    Parts parts = parts_of(two_classes(), 1);
    parts.value("fastplr.C") = number_value(0.5);
    CHECK_THROWS(fastplr::read_classifier(parts.written(folder)), ClassifierFileError,
                 "checksum does not match");
    parts = parts_of(two_classes(), 1);
    parts.value("fastplr.checksum") = text_value(digest(two_classes(), 2));
    CHECK_THROWS(fastplr::read_classifier(parts.written(folder)), ClassifierFileError,
                 "checksum does not match");
}

TEST_CASE("dimensions of 1 at the end, and keys and tensors of others, do not matter") {
    const Folder folder;
    Parts parts = parts_of(two_classes_with_training(1), 2);
    parts.tensor("coef").dims = {2, 1};
    parts.tensor("training.features").dims = {2, 1};
    parts.tensor("training.held_out_logits").dims = {1, 1};
    parts.tensor("mean").dims = {2, 1, 1};
    parts.value("another.key") = number_value(1);
    parts.tensors.push_back({"another", {1}, kF64, raw(1.0)});
    check_equal(fastplr::read_classifier(parts.written(folder)), two_classes_with_training(1));
}

TEST_CASE("a temperature or prior ratio that cannot be is named") {
    check_refusals({
        {value("fastplr.temperature", number_value(0)), "temperature is 0"},
        {value("fastplr.temperature", number_value(-1)), "temperature is -1"},
        {value("fastplr.temperature", number_value(kNan)), "temperature is nan"},
        {value("fastplr.temperature", number_value(kInf)), "temperature is inf"},
        {value("fastplr.temperature", text_value("1")), "fastplr.temperature is string; expected float64"},
        {value("fastplr.temperature", doubles_value({1})),
         "fastplr.temperature is an array; expected float64"},
        {without("fastplr.temperature"), "fastplr.temperature is missing"},
        {value("fastplr.temperature", number_value(1.8)), "checksum does not match"},
        {value("fastplr.log_prior_ratio", doubles_value({0, 0})), "log_prior_ratio has 2 values; expected 3"},
        {value("fastplr.log_prior_ratio", doubles_value({})), "log_prior_ratio has 0 values; expected 3"},
        {value("fastplr.log_prior_ratio", doubles_value({0, kNan, 0})), "log_prior_ratio holds nan"},
        {value("fastplr.log_prior_ratio", doubles_value({0, 0, -kInf})), "log_prior_ratio holds -inf"},
        {value("fastplr.log_prior_ratio", number_value(0)), "log_prior_ratio is float64; expected an array"},
        {value("fastplr.log_prior_ratio", array_value(kInt32, 3, std::string(12, '\0'))),
         "log_prior_ratio holds int32; expected float64"},
        {value("fastplr.log_prior_ratio", texts_value({"0", "0", "0"})), "holds string; expected float64"},
        {without("fastplr.log_prior_ratio"), "checksum does not match"},
    });
}

TEST_CASE("training rows that cannot be are named") {
    constexpr float kInfFloat = std::numeric_limits<float>::infinity();
    check_refusals({
        {without_tensor("training.features"), "no tensor 'training.features'"},
        {without_tensor("training.codes"), "no tensor 'training.codes'"},
        {without_tensor("training.weights"), "no tensor 'training.weights'"},
        {without_tensor("training.held_out_logits"), "no tensor 'training.held_out_logits'"},
        {shape("training.features", {3, 2}), "'training.features' has the shape [3, 2]; expected [2, 3]"},
        {shape("training.features", {6}), "'training.features' has the shape [6]; expected [2, 3]"},
        {shape("training.features", {2, 2}), "'training.features' has the shape [2, 2]; expected [2, 3]"},
        {shape("training.codes", {3, 1, 2}), "tensor"},
        {shape("training.codes", {2}), "'training.features' has the shape [2, 3]; expected [2, 2]"},
        {shape("training.weights", {2}), "'training.weights' has the shape [2]; expected [3]"},
        {shape("training.held_out_logits", {9}),
         "'training.held_out_logits' has the shape [9]; expected [3, 3]"},
        {[](Parts& parts) { parts.tensor("training.features").type = kI32; },
         "'training.features' is of type i32; expected f32"},
        {[](Parts& parts) { parts.tensor("training.codes").type = kF32; },
         "'training.codes' is of type f32; expected i32"},
        {[](Parts& parts) {
             parts.tensor("training.weights") = {"training.weights", {3}, kF32, std::string(12, '\0')};
         },
         "'training.weights' is of type f32; expected f64"},
        {numbers<float>("training.features", {0, 0, 0, 0, 0, kInfFloat}), "training.features holds inf"},
        {numbers<float>("training.features", {0, std::nanf(""), 0, 0, 0, 0}), "training.features holds nan"},
        {numbers<std::int32_t>("training.codes", {0, 1, 3}), "training.codes holds 3, expected 0 to 2"},
        {numbers<std::int32_t>("training.codes", {0, -1, 2}), "training.codes holds -1, expected 0 to 2"},
        {numbers<double>("training.weights", {1, -1, 1}), "training.weights holds -1"},
        {numbers<double>("training.weights", {1, kNan, 1}), "training.weights holds nan"},
        {numbers<double>("training.weights", {1, kInf, 1}), "training.weights holds inf"},
        {numbers<double>("training.weights", {0, 0, 0}), "training.weights adds up to 0"},
        {numbers<double>("training.weights", {1.7e308, 1.7e308, 0}), "training.weights adds up to inf"},
        {numbers<double>("training.held_out_logits", {0, 0, kInf, 0, 0, 0, 0, 0, 0}),
         "held_out_logits holds inf"},
        {numbers<double>("training.held_out_logits", {0, 0, 0, 0, kNan, 0, 0, 0, 0}),
         "held_out_logits is NaN in a part of row 1"},
        {numbers<std::int32_t>("training.codes", {2, 0, 0}), "checksum does not match"},
        {[](Parts& parts) {
             for (const char* name : {"training.features", "training.codes", "training.weights"})
                 parts.remove_tensor(name);
             parts.remove_tensor("training.held_out_logits");
         },
         "checksum does not match"},
    });
}

TEST_CASE("what every version has is named too") {
    check_refusals({
        {without("fastplr.C"), "the key fastplr.C is missing"},
        {without("fastplr.labels"), "the key fastplr.labels is missing"},
        {without("fastplr.checksum"), "the key fastplr.checksum is missing"},
        {without("fastplr.format_version"), "fastplr.format_version is missing"},
        {value("fastplr.format_version", text_value("2")), "fastplr.format_version is missing or no number"},
        {value("fastplr.layer", text_value("2")), "the key fastplr.layer is string; expected int32"},
        {value("fastplr.layer", raw<std::uint32_t>(kInt32) + raw<std::int32_t>(-2)), "layer is -2"},
        {value("fastplr.pooling", text_value("max")), "pooling is 'max'"},
        {value("fastplr.on_long", text_value("cut")), "on_long is 'cut'"},
        {value("fastplr.created_with", number_value(1)), "fastplr.created_with is float64; expected string"},
        {value("fastplr.labels", texts_value({"1"})), "fastplr.labels has 1 values; expected 2 or more"},
        {value("fastplr.labels", texts_value({"1", "2"})), "'coef' has the shape [2, 3]; expected [2]"},
        {value("fastplr.labels", doubles_value({1, 2, 3})), "holds float64; expected strings"},
        {value("fastplr.label_kinds", texts_value({"int"})), "fastplr.label_kinds has 1 values; expected 3"},
        {without_tensor("mean"), "no tensor 'mean'"},
        {without_tensor("intercept"), "no tensor 'intercept'"},
        {shape("coef", {3, 2}), "'coef' has the shape [3, 2]; expected [2, 3]"},
        {shape("coef", {6}), "'coef' has the shape [6]; expected [2, 3]"},
        {shape("mean", {1, 2}), "'mean' has the shape [1, 2]; expected one dimension"},
        {shape("scale", {1}), "'scale' has the shape [1]; expected [2]"},
        {[](Parts& parts) { parts.tensor("mean").type = kF32; }, "tensor"},
        {numbers<double>("scale", {1, -1}), "scale holds -1"},
        {numbers<double>("coef", {0, 0, 0, 0, 0, kNan}), "coef holds nan"},
    });
}

TEST_CASE("sizes that are only said take no memory") {
    constexpr std::uint64_t kHuge = std::uint64_t{1} << 40;
    check_refusals({
        {shape("training.features", {2, kHuge}), "tensor"},
        {shape("training.codes", {kHuge}), "tensor"},
        {shape("training.held_out_logits", {3, kHuge}), "cut short"},
        {shape("training.held_out_logits", {kHuge, kHuge}), "more elements than can be counted"},
        {value("fastplr.log_prior_ratio", array_value(kFloat64, kHuge, "")), "elements of type float64"},
        {value("fastplr.labels", array_value(kString, kHuge, "")), "elements of type string"},
    });
}

TEST_CASE("a file with holes takes no memory either") {
    const Folder folder;
    constexpr std::uint64_t n = std::uint64_t{1} << 28;
    for (const std::uint64_t n_codes : {n, std::uint64_t{1}}) {
        Parts parts = parts_of(two_classes(), 2);
        parts.tensors.push_back({"training.codes", {n_codes}, kI32, "", n_codes == 1 ? 32 : 4 * n});
        parts.tensors.push_back({"training.features", {2, n}, kF32, "", 8 * n});
        const std::string path = parts.written(folder);
        fs::resize_file(path, fs::file_size(path) + parts.tensors[4].hole + parts.tensors[5].hole);
        CHECK_THROWS(fastplr::read_classifier(path), ClassifierFileError,
                     n_codes == 1 ? "'training.features' has the shape [2, 268435456]; expected [2]"
                                  : "'training.features' has 2147483648 bytes; expected at most 1073741824");
    }
}
