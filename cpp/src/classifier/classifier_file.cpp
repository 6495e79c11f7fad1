// The classifier file: GGUF with architecture "fastplr-classifier", metadata under "fastplr.", four float64
// tensors, and those of the training rows where these were kept. Version 1 had neither these nor
// "fastplr.temperature" and "fastplr.log_prior_ratio".
#include <atomic>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <memory>
#include <random>
#include <system_error>
#include <type_traits>

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
constexpr const char* kPriorKey = "fastplr.log_prior_ratio";

struct GgufDeleter {
    void operator()(gguf_context* file) const { gguf_free(file); }
};
struct GgmlDeleter {
    void operator()(ggml_context* context) const { ggml_free(context); }
};

const char* to_string(OnLong on_long) { return on_long == OnLong::truncate ? "truncate" : "error"; }

void expect(const char* what, std::size_t found, std::size_t expected) {
    if (found != expected) {
        throw InputError(std::string("classifier: ") + what + " has " + std::to_string(found) +
                         " values, expected " + std::to_string(expected));
    }
}

void check_training(const ClassifierData& data) {
    const KeptTraining& training = data.training;
    const std::size_t n = training.codes.size();
    expect("training.features", training.features.size(), n * data.n_features);
    expect("training.weights", training.weights.size(), n);
    expect("training.held_out_logits", training.held_out_logits.size(), n * data.n_rows());
    for (const float value : training.features) {
        if (!std::isfinite(value))
            throw InputError("classifier: training.features holds " + std::to_string(value));
    }
    for (const std::int32_t code : training.codes) {
        if (code < 0 || static_cast<std::size_t>(code) >= data.n_classes()) {
            throw InputError("classifier: training.codes holds " + std::to_string(code) + ", expected 0 to " +
                             std::to_string(data.n_classes() - 1));
        }
    }
    for (const double weight : training.weights) {
        if (!(weight >= 0) || !std::isfinite(weight))
            throw InputError("classifier: training.weights holds " + std::to_string(weight));
    }
    for (const double logit : training.held_out_logits) {
        if (std::isinf(logit))
            throw InputError("classifier: training.held_out_logits holds an infinite value");
    }
}

void check_consistent(const ClassifierData& data) {
    const auto finite = [](const char* what, const std::vector<double>& values) {
        for (const double value : values) {
            if (!std::isfinite(value))
                throw InputError(std::string("classifier: ") + what + " holds " + std::to_string(value));
        }
    };
    if (data.n_features == 0) throw InputError("classifier: 0 features, expected 1 or more");
    if (data.n_classes() < 2)
        throw InputError("classifier: " + std::to_string(data.n_classes()) + " labels, expected 2 or more");
    expect("mean", data.mean.size(), data.n_features);
    expect("scale", data.scale.size(), data.n_features);
    expect("coef", data.coef.size(), data.n_rows() * data.n_features);
    expect("intercept", data.intercept.size(), data.n_rows());
    expect("label_kinds", data.label_kinds.size(), data.n_classes());
    finite("mean", data.mean);
    finite("scale", data.scale);
    finite("coef", data.coef);
    finite("intercept", data.intercept);
    for (const double scale : data.scale) {
        if (scale <= 0)
            throw InputError("classifier: scale holds " + std::to_string(scale) + ", expected > 0");
    }
    if (!(data.temperature > 0) || !std::isfinite(data.temperature))
        throw InputError("classifier: temperature is " + std::to_string(data.temperature) + ", expected > 0");
    if (!data.log_prior_ratio.empty())
        expect("log_prior_ratio", data.log_prior_ratio.size(), data.n_classes());
    finite("log_prior_ratio", data.log_prior_ratio);
    check_training(data);
    if (!(data.C > 0)) throw InputError("classifier: C is " + std::to_string(data.C) + ", expected > 0");
    for (const std::string& label : data.labels) check_utf8(label, "classifier: a label");
    for (const std::string& kind : data.label_kinds) check_utf8(kind, "classifier: the kind of a label");
    for (const std::string* text :
         {&data.model_name, &data.model.source_sha256, &data.model.tensor_type, &data.model.llama_cpp_commit,
          &data.prompt.prefix, &data.prompt.suffix, &data.label_dtype, &data.created_with, &data.annotations})
        check_utf8(*text, "classifier: a text");
}

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

template <typename T>
void add_tensor(gguf_context* file, ggml_context* context, const char* name, const std::vector<T>& values,
                std::size_t n_columns) {
    const auto columns = static_cast<int64_t>(n_columns);
    const ggml_type type = std::is_same_v<T, double>  ? GGML_TYPE_F64
                           : std::is_same_v<T, float> ? GGML_TYPE_F32
                                                      : GGML_TYPE_I32;
    ggml_tensor* tensor =
        ggml_new_tensor_2d(context, type, columns, static_cast<int64_t>(values.size()) / columns);
    ggml_set_name(tensor, name);
    std::memcpy(tensor->data, values.data(), values.size() * sizeof(T));
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
    gguf_set_val_f64(file.get(), "fastplr.temperature", data.temperature);
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
    std::FILE* stream = ggml_fopen(path.string().c_str(), "wb");
    if (stream == nullptr) return reason();
    int failed = gguf_write_to_file_ptr(file, stream, /*only_meta=*/false) ? 0 : reason();
    if (failed == 0 && std::fflush(stream) != 0) failed = reason();
#if defined(__unix__) || defined(__APPLE__)
    if (failed == 0 && ::fsync(::fileno(stream)) != 0) failed = reason();
#endif
    if (std::fclose(stream) != 0 && failed == 0) failed = reason();
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
    const std::size_t n_values = data.mean.size() + data.scale.size() + data.coef.size() +
                                 data.intercept.size() + training.features.size() + training.codes.size() +
                                 training.weights.size() + training.held_out_logits.size();
    ggml_init_params params{};
    params.mem_size = n_values * sizeof(double) + 12 * (ggml_tensor_overhead() + 64);
    const std::unique_ptr<ggml_context, GgmlDeleter> tensors(ggml_init(params));
    const auto file = metadata(data);
    add_tensor(file.get(), tensors.get(), "mean", data.mean, data.n_features);
    add_tensor(file.get(), tensors.get(), "scale", data.scale, data.n_features);
    add_tensor(file.get(), tensors.get(), "coef", data.coef, data.n_features);
    add_tensor(file.get(), tensors.get(), "intercept", data.intercept, data.n_rows());
    if (!training.empty()) {
        add_tensor(file.get(), tensors.get(), "training.features", training.features, data.n_features);
        add_tensor(file.get(), tensors.get(), "training.codes", training.codes, training.codes.size());
        add_tensor(file.get(), tensors.get(), "training.weights", training.weights, training.weights.size());
        add_tensor(file.get(), tensors.get(), "training.held_out_logits", training.held_out_logits,
                   data.n_rows());
    }

    error = std::error_code(write_and_flush(file.get(), temporary), std::generic_category());
    std::error_code ignored;
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
        if (!version) file.fail(std::string("the key ") + kVersionKey + " is missing");
        if (*version < 1) file.fail("its format version is 0, expected 1 or more");
        if (*version > kClassifierFormatVersion) {
            throw ClassifierFileError("classifier file '" + path + "' has format version " +
                                      std::to_string(*version) + ", this fastplr reads up to " +
                                      std::to_string(kClassifierFormatVersion) + ": install a newer fastplr");
        }
        const auto text = [&](const char* key) {
            const auto value = file.find_string(key);
            if (!value) file.fail(std::string("the key ") + key + " is missing");
            check_utf8(*value, key);  // messages and Python show it
            return *value;
        };
        const auto number = [&](const char* key, auto example) {
            using T = decltype(example);
            const gguf::Scalar* value = file.find_scalar(key);
            if (value == nullptr || !std::holds_alternative<T>(*value))
                file.fail(std::string("the key ") + key + " is missing");
            return std::get<T>(*value);
        };
        ClassifierData data;
        data.created_with = text("fastplr.created_with");
        data.model_name = text("fastplr.model.name");
        data.model.source_sha256 = text("fastplr.model.source_sha256");
        data.model.tensor_type = text("fastplr.model.tensor_type");
        data.model.llama_cpp_commit = text("fastplr.model.llama_cpp_commit");
        data.prompt = {text("fastplr.prompt.prefix"), text("fastplr.prompt.suffix")};
        data.layer = number("fastplr.layer", std::int32_t{});
        data.pooling = pooling_from_string(text("fastplr.pooling"));
        const std::string on_long = text("fastplr.on_long");
        data.on_long = on_long == to_string(OnLong::truncate) ? OnLong::truncate : OnLong::error;
        if (on_long != to_string(data.on_long))
            file.fail("on_long is '" + on_long + "', expected 'error' or 'truncate'");
        data.labels = gguf::read_strings(file, "fastplr.labels");
        data.label_kinds = gguf::read_strings(file, "fastplr.label_kinds");
        data.label_dtype = text("fastplr.label_dtype");
        data.C = number("fastplr.C", double{});
        data.annotations = text("fastplr.annotations");
        data.mean = gguf::read_tensor_f64(file, "mean");
        data.scale = gguf::read_tensor_f64(file, "scale");
        data.coef = gguf::read_tensor_f64(file, "coef");
        data.intercept = gguf::read_tensor_f64(file, "intercept");
        data.n_features = data.mean.size();
        if (*version >= 2) {
            data.temperature = number("fastplr.temperature", double{});
            if (file.has_key(kPriorKey)) data.log_prior_ratio = gguf::read_doubles(file, kPriorKey);
            if (file.find_tensor("training.codes") != nullptr) {
                data.training.features = gguf::read_tensor_f32(file, "training.features");
                data.training.codes = gguf::read_tensor_i32(file, "training.codes");
                data.training.weights = gguf::read_tensor_f64(file, "training.weights");
                data.training.held_out_logits = gguf::read_tensor_f64(file, "training.held_out_logits");
            }
        }
        check_consistent(data);
        if (text("fastplr.checksum") != checksum(data, *version))
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
