#include "fastplr/model_info.hpp"

#include <algorithm>
#include <array>
#include <cstdio>
#include <string_view>
#include <utility>

#include "model/architecture_rules.hpp"
#include "model/gguf_reader.hpp"
#include "model/model_checks.hpp"
#include "model/printable.hpp"
#include "model/weight_bytes.hpp"

namespace fastplr {

namespace {

constexpr std::size_t kShownBytes = 200;

/// enum llama_ftype of llama.cpp's include/llama.h.
constexpr std::array<std::pair<std::uint64_t, std::string_view>, 36> kFileTypes{{
    {0, "F32"},     {1, "F16"},     {2, "Q4_0"},     {3, "Q4_1"},    {7, "Q8_0"},     {8, "Q5_0"},
    {9, "Q5_1"},    {10, "Q2_K"},   {11, "Q3_K_S"},  {12, "Q3_K_M"}, {13, "Q3_K_L"},  {14, "Q4_K_S"},
    {15, "Q4_K_M"}, {16, "Q5_K_S"}, {17, "Q5_K_M"},  {18, "Q6_K"},   {19, "IQ2_XXS"}, {20, "IQ2_XS"},
    {21, "Q2_K_S"}, {22, "IQ3_XS"}, {23, "IQ3_XXS"}, {24, "IQ1_S"},  {25, "IQ4_NL"},  {26, "IQ3_S"},
    {27, "IQ3_M"},  {28, "IQ2_S"},  {29, "IQ2_M"},   {30, "IQ4_XS"}, {31, "IQ1_M"},   {32, "BF16"},
    {36, "TQ1_0"},  {37, "TQ2_0"},  {38, "MXFP4"},   {39, "NVFP4"},  {40, "Q1_0"},    {41, "Q2_0"},
}};

std::string upper_case(std::string text) {
    for (char& letter : text) {
        if (letter >= 'a' && letter <= 'z') letter = static_cast<char>(letter - 'a' + 'A');
    }
    return text;
}

std::string render(const gguf::Scalar& scalar, std::size_t max_bytes) {
    return std::visit(
        [&](const auto& value) -> std::string {
            using T = std::decay_t<decltype(value)>;
            if constexpr (std::is_same_v<T, std::string>) {
                const std::string_view shown = utf8_prefix(value, max_bytes);
                std::string text = valid_utf8(shown);
                if (shown.size() < value.size()) text += "... (" + std::to_string(value.size()) + " bytes)";
                return text;
            } else if constexpr (std::is_same_v<T, bool>) {
                return value ? "true" : "false";
            } else if constexpr (std::is_floating_point_v<T>) {
                std::array<char, 32> text{};
                std::snprintf(text.data(), text.size(), "%.*g", std::is_same_v<T, float> ? 7 : 15,
                              static_cast<double>(value));
                return text.data();
            } else {
                return std::to_string(value);
            }
        },
        scalar);
}

std::string render(const gguf::Value& value) {
    if (const auto* scalar = std::get_if<gguf::Scalar>(&value)) return render(*scalar, kShownBytes);
    const auto& array = std::get<gguf::Array>(value);
    std::string text = std::to_string(array.count) + " x " + gguf::value_type_name(array.element_type) + " [";
    for (std::size_t i = 0; i < array.preview.size(); ++i) {
        text += (i == 0 ? "" : ", ") + render(array.preview[i], gguf::kPreviewBytes);
    }
    return text + (array.preview.size() < array.count ? ", ...]" : "]");
}

std::string text_at(const gguf::File& file, std::string_view key) {
    return valid_utf8(file.find_string(key).value_or(""));
}

std::vector<TensorTypeShare> tensor_mix(const gguf::File& file) {
    std::vector<TensorTypeShare> mix;
    for (const gguf::Tensor& tensor : file.tensors) {
        const std::string type = upper_case(ggml_type_name(tensor.type));
        auto share = std::find_if(mix.begin(), mix.end(),
                                  [&](const TensorTypeShare& other) { return other.type == type; });
        if (share == mix.end()) share = mix.insert(mix.end(), {type, 0, 0, 0});
        share->n_tensors += 1;
        share->n_elements += tensor.n_elements;
        share->n_bytes += tensor.n_bytes;
    }
    std::stable_sort(mix.begin(), mix.end(),
                     [](const auto& a, const auto& b) { return a.n_bytes > b.n_bytes; });
    return mix;
}

std::string quantization(const gguf::File& file) {
    const auto number = file.find_unsigned("general.file_type");
    if (!number) return "";
    for (const auto& [type, name] : kFileTypes) {
        if (type == *number) return std::string(name);
    }
    return "file type " + std::to_string(*number);
}

bool is_not_causal(const gguf::File& file, const std::string& architecture) {
    const gguf::Scalar* scalar = file.find_scalar(architecture + ".attention.causal");
    const bool* causal = scalar == nullptr ? nullptr : std::get_if<bool>(scalar);
    return causal != nullptr && !*causal;
}

}  // namespace

ModelInfo read_model_info(const std::string& path) { return model_info_of(gguf::open(path)); }

ModelInfo model_info_of(const gguf::File& file) {
    check_model(file);

    ModelInfo info;
    info.path = file.path;
    info.file_size = file.file_size;
    info.architecture = valid_utf8(require_architecture(file));
    info.name = text_at(file, "general.name");
    info.license = text_at(file, "general.license");
    info.quantization = quantization(file);
    info.n_layers = file.find_unsigned(info.architecture + ".block_count").value_or(0);
    // Blocks that predict further tokens hang beside the network.
    const auto n_beside = file.find_unsigned(info.architecture + ".nextn_predict_layers").value_or(0);
    info.n_layers -= std::min(info.n_layers, n_beside);
    info.n_embd = file.find_unsigned(info.architecture + ".embedding_length").value_or(0);
    info.n_ctx_train = file.find_unsigned(info.architecture + ".context_length").value_or(0);
    info.n_vocab =
        file.find_array("tokenizer.ggml.tokens")->count;  // check_model() has seen that it is there
    info.is_encoder = contains(kT5, info.architecture) || is_not_causal(file, info.architecture);
    info.tensor_mix = tensor_mix(file);
    std::uint64_t n_bytes = 0;
    for (const TensorTypeShare& share : info.tensor_mix) {
        info.n_parameters += share.n_elements;
        n_bytes += share.n_bytes;
    }
    info.bits_per_weight = 8.0 * static_cast<double>(n_bytes) / static_cast<double>(info.n_parameters);
    for (const gguf::MetadataEntry& entry : file.metadata)
        info.metadata.emplace(valid_utf8(entry.key), render(entry.value));
    return info;
}

}  // namespace fastplr
