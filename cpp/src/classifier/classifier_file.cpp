// The classifier file: GGUF with architecture "fastplr-classifier", metadata under "fastplr.", four float64
// tensors, and those of the training rows where these were kept: docs/classifier_file.md. Version 1 had
// neither these nor "fastplr.temperature" and "fastplr.log_prior_ratio".
#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <random>
#include <system_error>
#include <type_traits>

#include "classifier/classifier_checks.hpp"
#include "embedding/text.hpp"
#include "fastplr/classifier.hpp"
#include "fastplr/sha256.hpp"
#include "ggml.h"
#include "gguf.h"
#include "model/file_cursor.hpp"
#include "model/gguf_reader.hpp"
#include "model/llama_log.hpp"
#include "model/printable.hpp"

#if defined(__unix__) || defined(__APPLE__)
#include <unistd.h>
#else
#include <process.h>
#define getpid _getpid
#endif

namespace fastplr {
namespace {

namespace fs = std::filesystem;

constexpr const char* kArchitecture = "fastplr-classifier";
constexpr const char* kVersionKey = "fastplr.format_version";
constexpr const char* kTemperatureKey = "fastplr.temperature";
constexpr const char* kPriorKey = "fastplr.log_prior_ratio";
constexpr const char* kTrainingFeatures = "training.features";
constexpr const char* kTrainingCodes = "training.codes";
constexpr const char* kTrainingWeights = "training.weights";
constexpr const char* kHeldOutLogits = "training.held_out_logits";

struct GgufDeleter {
    void operator()(gguf_context* file) const { gguf_free(file); }
};
struct GgmlDeleter {
    void operator()(ggml_context* context) const { ggml_free(context); }
};
struct StreamCloser {
    void operator()(std::FILE* stream) const { std::fclose(stream); }
};

const char* to_string(OnLong on_long) { return on_long == OnLong::truncate ? "truncate" : "error"; }

// A digest of all that the file holds: a bit that flipped on a disk is found at loading, wherever it is.
std::string checksum(const ClassifierData& data, std::uint64_t version) {
    Sha256 digest;
    const auto add_text = [&](const std::string& text) {
        const std::string framed = std::to_string(text.size()) + ":" + text;
        digest.update(framed.data(), framed.size());
    };
    const auto add_texts = [&](const std::vector<std::string>& texts) {
        add_text(std::to_string(texts.size()));
        for (const std::string& text : texts) add_text(text);
    };
    const auto add_numbers = [&](const auto& values) {
        add_text(std::to_string(values.size()));
        digest.update(values.data(), values.size() * sizeof(values.front()));
    };
    add_texts({data.created_with, data.model_name, data.model.source_sha256, data.model.tensor_type,
               data.model.llama_cpp_commit, data.prompt.prefix, data.prompt.suffix,
               std::to_string(data.layer), to_string(data.pooling), to_string(data.on_long)});
    add_texts(data.labels);
    add_texts(data.label_kinds);
    add_texts({data.label_dtype, data.annotations});
    add_numbers(std::vector<double>{data.C});
    add_numbers(data.mean);
    add_numbers(data.scale);
    add_numbers(data.coef);
    add_numbers(data.intercept);
    if (version >= 2) {
        add_numbers(std::vector<double>{data.temperature});
        add_numbers(data.log_prior_ratio);
        add_numbers(data.training.features);
        add_numbers(data.training.codes);
        add_numbers(data.training.weights);
        add_numbers(data.training.held_out_logits);
    }
    return digest.hex_digest();
}

void set_strings(gguf_context* file, const char* key, const std::vector<std::string>& values) {
    std::vector<const char*> pointers;
    for (const std::string& value : values) pointers.push_back(value.c_str());
    gguf_set_arr_str(file, key, pointers.data(), pointers.size());
}

// Adds [n_rows, n_columns] numbers, which are not copied: `values` must outlive the writing.
template <typename T>
void add_tensor(gguf_context* file, ggml_context* context, const char* name, const std::vector<T>& values,
                std::size_t n_columns) {
    // A reader would refuse a larger one (gguf_reader.hpp).
    if (values.size() * sizeof(T) > gguf::kMaxTensorReadBytes) {
        throw InputError(std::string("classifier: ") + name + " has " +
                         std::to_string(values.size() * sizeof(T)) + " bytes, expected at most " +
                         std::to_string(gguf::kMaxTensorReadBytes));
    }
    const auto columns = static_cast<int64_t>(n_columns);
    const ggml_type type = std::is_same_v<T, double>  ? GGML_TYPE_F64
                           : std::is_same_v<T, float> ? GGML_TYPE_F32
                                                      : GGML_TYPE_I32;
    ggml_tensor* tensor =
        ggml_new_tensor_2d(context, type, columns, static_cast<int64_t>(values.size()) / columns);
    ggml_set_name(tensor, name);
    tensor->data = const_cast<T*>(values.data());  // only read
    gguf_add_tensor(file, tensor);
}

std::unique_ptr<gguf_context, GgufDeleter> metadata(const ClassifierData& data) {
    std::unique_ptr<gguf_context, GgufDeleter> file(gguf_init_empty());
    const auto text = [&](const char* key, const std::string& value) {
        gguf_set_val_str(file.get(), key, value.c_str());
    };
    text("general.architecture", kArchitecture);
    gguf_set_val_u32(file.get(), kVersionKey, kClassifierFormatVersion);
    text("fastplr.created_with", data.created_with);
    text("fastplr.model.name", data.model_name);
    text("fastplr.model.source_sha256", data.model.source_sha256);
    text("fastplr.model.tensor_type", data.model.tensor_type);
    text("fastplr.model.llama_cpp_commit", data.model.llama_cpp_commit);
    text("fastplr.prompt.prefix", data.prompt.prefix);
    text("fastplr.prompt.suffix", data.prompt.suffix);
    gguf_set_val_i32(file.get(), "fastplr.layer", data.layer);
    text("fastplr.pooling", to_string(data.pooling));
    text("fastplr.on_long", to_string(data.on_long));
    set_strings(file.get(), "fastplr.labels", data.labels);
    set_strings(file.get(), "fastplr.label_kinds", data.label_kinds);
    text("fastplr.label_dtype", data.label_dtype);
    gguf_set_val_f64(file.get(), "fastplr.C", data.C);
    gguf_set_val_f64(file.get(), kTemperatureKey, data.temperature);
    if (!data.log_prior_ratio.empty()) {
        gguf_set_arr_data(file.get(), kPriorKey, GGUF_TYPE_FLOAT64, data.log_prior_ratio.data(),
                          data.log_prior_ratio.size());
    }
    text("fastplr.annotations", data.annotations);
    text("fastplr.checksum", checksum(data, kClassifierFormatVersion));
    return file;
}

// Writes the file and brings it to the disk, so that the rename that follows never reveals a part of it, be
// it after a crash. Only closing tells whether the last buffer found room. Returns 0 or errno.
int write_and_flush(const gguf_context* file, const fs::path& path) {
    errno = 0;
    const auto reason = [] { return errno == 0 ? EIO : errno; };
    std::unique_ptr<std::FILE, StreamCloser> stream(ggml_fopen(path.string().c_str(), "wb"));
    if (stream == nullptr) return reason();
    int failed = gguf_write_to_file_ptr(file, stream.get(), /*only_meta=*/false) ? 0 : reason();
    if (failed == 0 && std::fflush(stream.get()) != 0) failed = reason();
#if defined(__unix__) || defined(__APPLE__)
    if (failed == 0 && ::fsync(::fileno(stream.get())) != 0) failed = reason();
#endif
    if (std::fclose(stream.release()) != 0 && failed == 0) failed = reason();
    return failed;
}

// A name of its own for every writer, of any process, thread and machine that shares the folder; short
// whatever the target's name is.
std::string temporary_name() {
    static std::atomic<unsigned> counter{0};
    std::random_device random;
    return ".fastplr-" + std::to_string(getpid()) + "-" + std::to_string(counter++) + "-" +
           std::to_string(random()) + ".tmp";
}

// The values of a file by key or name: each must be there, of its type and shape, before memory is taken for
// it.
class Fields {
  public:
    explicit Fields(const gguf::File& file) : file_(file) {}

    template <typename T>
    T number(const char* key) const {
        return scalar<T>(key);
    }

    std::string text(const char* key) const {
        const auto& value = scalar<std::string>(key);
        check_utf8(value, key);  // messages and Python show it
        return value;
    }

    bool has(const char* key) const { return file_.has_key(key); }

    /// Elements of the array at `key`.
    std::uint64_t count(const char* key) const {
        const gguf::Array* array = file_.find_array(key);
        if (array == nullptr) refuse(key, "an array");
        return array->count;
    }

    std::vector<std::string> texts(const char* key, std::uint64_t expected) const {
        expect_count(key, expected);
        return gguf::read_strings(file_, key);
    }

    std::vector<double> doubles(const char* key, std::uint64_t expected) const {
        expect_count(key, expected);
        const gguf::Array* array = file_.find_array(key);
        if (array->element_type != gguf::ValueType::float64) {
            file_.fail(std::string("the key ") + key + " holds " +
                       gguf::value_type_name(array->element_type) + "; expected float64");
        }
        return gguf::read_doubles(file_, key);
    }

    bool has_tensor(const char* name) const { return file_.find_tensor(name) != nullptr; }

    /// The values of a tensor with one dimension.
    std::uint64_t length(const char* name) const {
        const auto dims = shape(name);
        if (dims.size() != 1) {
            file_.fail(std::string("tensor '") + name + "' has the shape " + gguf::dims_text(dims) +
                       "; expected one dimension");
        }
        return dims[0];
    }

    /// A row-major tensor [n_rows, n_columns]; in the file and in messages the columns come first.
    template <typename T>
    std::vector<T> tensor(const char* name, std::uint64_t n_columns, std::uint64_t n_rows = 1) const {
        const auto found = shape(name);
        const auto expected = without_trailing_ones({n_columns, n_rows});
        if (found != expected) {
            file_.fail(std::string("tensor '") + name + "' has the shape " + gguf::dims_text(found) +
                       "; expected " + gguf::dims_text(expected));
        }
        if constexpr (std::is_same_v<T, double>) return gguf::read_tensor_f64(file_, name);
        if constexpr (std::is_same_v<T, float>) return gguf::read_tensor_f32(file_, name);
        if constexpr (std::is_same_v<T, std::int32_t>) return gguf::read_tensor_i32(file_, name);
    }

    [[noreturn]] void fail(const std::string& message) const { file_.fail(message); }

  private:
    // Alternatives of Scalar are in the order of ValueType, which has `array` after `string`.
    static gguf::ValueType type_of(const gguf::Scalar& value) {
        const auto index = static_cast<std::uint32_t>(value.index());
        const auto array = static_cast<std::uint32_t>(gguf::ValueType::array);
        return static_cast<gguf::ValueType>(index < array ? index : index + 1);
    }

    [[noreturn]] void refuse(const char* key, const std::string& expected) const {
        const std::string subject = std::string("the key ") + key;
        if (!file_.has_key(key)) file_.fail(subject + " is missing");
        const gguf::Scalar* found = file_.find_scalar(key);
        file_.fail(subject + " is " +
                   (found == nullptr ? "an array" : gguf::value_type_name(type_of(*found))) + "; expected " +
                   expected);
    }

    template <typename T>
    const T& scalar(const char* key) const {
        const gguf::Scalar* found = file_.find_scalar(key);
        if (found == nullptr || !std::holds_alternative<T>(*found))
            refuse(key, gguf::value_type_name(type_of(gguf::Scalar(T{}))));
        return std::get<T>(*found);
    }

    void expect_count(const char* key, std::uint64_t expected) const {
        const std::uint64_t found = count(key);
        if (found != expected) {
            file_.fail(std::string("the key ") + key + " has " + std::to_string(found) +
                       " values; expected " + std::to_string(expected));
        }
    }

    // Writers differ in whether they keep dimensions of 1 at the end.
    static std::vector<std::uint64_t> without_trailing_ones(std::vector<std::uint64_t> dims) {
        while (dims.size() > 1 && dims.back() == 1) dims.pop_back();
        return dims;
    }

    std::vector<std::uint64_t> shape(const char* name) const {
        const gguf::Tensor* tensor = file_.find_tensor(name);
        if (tensor == nullptr) file_.fail(std::string("has no tensor '") + name + "'");
        return without_trailing_ones(tensor->dims);
    }

    const gguf::File& file_;
};

// What texts are embedded with, and who wrote the file.
void read_setting(const Fields& fields, ClassifierData& data) {
    data.created_with = fields.text("fastplr.created_with");
    data.model_name = fields.text("fastplr.model.name");
    data.model.source_sha256 = fields.text("fastplr.model.source_sha256");
    data.model.tensor_type = fields.text("fastplr.model.tensor_type");
    data.model.llama_cpp_commit = fields.text("fastplr.model.llama_cpp_commit");
    data.prompt = {fields.text("fastplr.prompt.prefix"), fields.text("fastplr.prompt.suffix")};
    data.layer = fields.number<std::int32_t>("fastplr.layer");
    data.pooling = pooling_from_string(fields.text("fastplr.pooling"));
    const std::string on_long = fields.text("fastplr.on_long");
    data.on_long = on_long == to_string(OnLong::truncate) ? OnLong::truncate : OnLong::error;
    if (on_long != to_string(data.on_long))
        fields.fail("on_long is '" + on_long + "', expected 'error' or 'truncate'");
    data.label_dtype = fields.text("fastplr.label_dtype");
    data.annotations = fields.text("fastplr.annotations");
}

void read_fit(const Fields& fields, ClassifierData& data) {
    const std::uint64_t n_classes = fields.count("fastplr.labels");
    const std::uint64_t n_rows = n_classes == 2 ? 1 : n_classes;
    const std::uint64_t n_features = fields.length("mean");
    if (n_classes < 2)
        fields.fail("the key fastplr.labels has " + std::to_string(n_classes) +
                    " values; expected 2 or more");
    data.C = fields.number<double>("fastplr.C");
    data.n_features = static_cast<std::size_t>(n_features);
    data.mean = fields.tensor<double>("mean", n_features);
    data.scale = fields.tensor<double>("scale", n_features);
    data.coef = fields.tensor<double>("coef", n_features, n_rows);
    data.intercept = fields.tensor<double>("intercept", n_rows);
    data.labels = fields.texts("fastplr.labels", n_classes);
    data.label_kinds = fields.texts("fastplr.label_kinds", n_classes);
}

void read_calibration(const Fields& fields, ClassifierData& data) {
    data.temperature = fields.number<double>(kTemperatureKey);
    if (fields.has(kPriorKey)) data.log_prior_ratio = fields.doubles(kPriorKey, data.n_classes());
}

// All of the training rows or nothing.
void read_training(const Fields& fields, ClassifierData& data) {
    const auto names = {kTrainingFeatures, kTrainingCodes, kTrainingWeights, kHeldOutLogits};
    if (std::none_of(names.begin(), names.end(), [&](const char* name) { return fields.has_tensor(name); }))
        return;
    const std::uint64_t n = fields.length(kTrainingCodes);
    data.training.features = fields.tensor<float>(kTrainingFeatures, data.n_features, n);
    data.training.codes = fields.tensor<std::int32_t>(kTrainingCodes, n);
    data.training.weights = fields.tensor<double>(kTrainingWeights, n);
    data.training.held_out_logits = fields.tensor<double>(kHeldOutLogits, data.n_rows(), n);
}

}  // namespace

void save_classifier(const ClassifierData& data, const std::string& path) {
    initialise_llama();
    check_consistent(data);
    std::error_code error;
    fs::path target = fs::u8path(path);
    if (fs::is_symlink(target, error)) target = fs::weakly_canonical(target, error);  // the link itself stays
    const std::string problem = "classifier file '" + path + "' could not be written: ";
    if (fs::is_directory(target, error)) throw ClassifierFileError(problem + "it is a directory");
    if (fs::exists(target, error) && !fs::is_regular_file(target, error)) {
        throw ClassifierFileError(problem + "it is not a regular file");  // the rename would replace it
    }
    const fs::path folder = target.has_parent_path() ? target.parent_path() : fs::path(".");
    if (!fs::is_directory(folder, error)) {
        throw ClassifierFileError(problem + "there is no directory '" + folder.string() + "'");
    }
    const fs::path temporary = folder / temporary_name();

    const NativeGuard guard;
    const KeptTraining& training = data.training;
    ggml_init_params params{};
    params.mem_size = 8 * (ggml_tensor_overhead() + 64);  // descriptions only
    params.no_alloc = true;
    const std::unique_ptr<ggml_context, GgmlDeleter> tensors(ggml_init(params));
    const auto file = metadata(data);
    const auto add = [&](const char* name, const auto& values, std::size_t n_columns) {
        add_tensor(file.get(), tensors.get(), name, values, n_columns);
    };
    add("mean", data.mean, data.n_features);
    add("scale", data.scale, data.n_features);
    add("coef", data.coef, data.n_features);
    add("intercept", data.intercept, data.n_rows());
    if (!training.empty()) {
        add(kTrainingFeatures, training.features, data.n_features);
        add(kTrainingCodes, training.codes, training.codes.size());
        add(kTrainingWeights, training.weights, training.weights.size());
        add(kHeldOutLogits, training.held_out_logits, data.n_rows());
    }

    std::error_code ignored;
    try {
        error = std::error_code(write_and_flush(file.get(), temporary), std::generic_category());
    } catch (...) {  // no memory for ggml's copy of a tensor
        fs::remove(temporary, ignored);
        throw;
    }
    const fs::file_status old = fs::status(target, ignored);
    if (!error && fs::exists(old)) fs::permissions(temporary, old.permissions(), error);
    if (!error) fs::rename(temporary, target, error);
    if (!error) return;
    fs::remove(temporary, ignored);
    throw ClassifierFileError(problem + error.message());
}

ClassifierData read_classifier(const std::string& path) {
    initialise_llama();
    try {
        const gguf::File file = gguf::open(path);
        const std::string architecture = file.find_string("general.architecture").value_or("");
        if (architecture != kArchitecture) {
            throw ClassifierFileError("'" + path + "' is a GGUF file of the architecture " +
                                      fastplr::quoted(architecture) + ": expected '" + kArchitecture + "'");
        }
        const auto version = file.find_unsigned(kVersionKey);
        if (!version) file.fail(std::string("the key ") + kVersionKey + " is missing or no number >= 0");
        if (*version < 1) file.fail("its format version is 0, expected 1 or more");
        if (*version > kClassifierFormatVersion) {
            throw ClassifierFileError("classifier file '" + path + "' has format version " +
                                      std::to_string(*version) + ", this fastplr reads up to " +
                                      std::to_string(kClassifierFormatVersion) + ": install a newer fastplr");
        }
        ClassifierData data;
        data.format_version = static_cast<int>(*version);
        const Fields fields(file);
        read_setting(fields, data);
        read_fit(fields, data);
        if (*version >= 2) {
            read_calibration(fields, data);
            read_training(fields, data);
        }
        check_consistent(data);
        if (fields.text("fastplr.checksum") != checksum(data, *version))
            file.fail("its checksum does not match its content");
        return data;
    } catch (const ModelError& error) {
        // The GGUF reader speaks of model files.
        std::string reason = error.what();
        const std::string start = model_file_message(path, "");
        if (reason.starts_with(start)) reason.erase(0, start.size());
        throw ClassifierFileError("'" + path + "' is no usable classifier file: " + reason);
    } catch (const InputError& error) {
        throw ClassifierFileError("'" + path + "' is no usable classifier file: " + error.what());
    }
}

}  // namespace fastplr
