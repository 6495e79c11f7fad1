// What a model file says about itself, read without loading it.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace fastplr {

/// All tensors of one type in a model file.
struct TensorTypeShare {
    std::string type;  ///< as ggml names it, in capitals: "Q4_1", "F16", "Q4_K"
    std::uint64_t n_tensors = 0;
    std::uint64_t n_elements = 0;
    std::uint64_t n_bytes = 0;
};

/// Numbers are 0 and strings empty where the file does not state them. All strings are valid UTF-8.
struct ModelInfo {
    std::string path;
    std::uint64_t file_size = 0;  ///< bytes
    std::string architecture;     ///< "llama", "qwen2", "bert", ...
    std::string name;
    std::uint64_t n_parameters = 0;  ///< elements of all tensors
    std::uint64_t n_layers = 0;      ///< blocks that a text passes
    std::uint64_t n_embd = 0;        ///< width of the hidden states
    std::uint64_t n_ctx_train = 0;   ///< longest context in training, tokens
    std::uint64_t n_vocab = 0;       ///< tokens
    bool is_encoder = false;         ///< every token reads the whole text, not only what is before it
    /// The types that the tensors really have, most bytes first: the name of a file often promises others.
    std::vector<TensorTypeShare> tensor_mix;
    double bits_per_weight = 0.0;  ///< 8 * bytes of all tensors / elements of all tensors
    std::string license;  ///< as stated in the file, an SPDX identifier if its maker followed the convention
    std::string quantization;  ///< what the file calls itself ('general.file_type'), such as "Q4_K_M"; see
                               ///< tensor_mix for the truth
    /// Every metadata entry, shortened for reading: long text is cut, of arrays the type, length and first
    /// elements are shown.
    std::map<std::string, std::string> metadata;
};

/// Reads and checks the model file at `path`: structure, hyperparameters, vocabulary, tensors. A file that
/// passes is safe to hand to llama.cpp. Reads the file's head only, never the weights.
/// \throws ModelError if the file is missing, no GGUF file, cut short, damaged, or would not load, saying
/// what was found and what was expected; UnsupportedArchitecture for networks of other kinds (image
/// projectors, speech decoders, ...).
ModelInfo read_model_info(const std::string& path);

}  // namespace fastplr
