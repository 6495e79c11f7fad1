#include "fastplr/quantize.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <stdexcept>
#include <system_error>
#include <utility>
#include <vector>

#include "fastplr/available_cores.hpp"
#include "fastplr/model.hpp"
#include "fastplr/model_identity.hpp"
#include "fastplr/model_info.hpp"
#include "ggml-cpu.h"
#include "kernels/ggml_join.hpp"
#include "llama.h"
#include "model/architecture_rules.hpp"
#include "model/gguf_reader.hpp"
#include "model/identity_keys.hpp"
#include "model/llama_log.hpp"
#include "model/weight_bytes.hpp"

namespace fastplr {
namespace {

struct FileType {
    const char* name;
    llama_ftype number;
    ggml_type main_type;  // of most matrices
};

constexpr std::array kTypes{
    FileType{"F32", LLAMA_FTYPE_ALL_F32, GGML_TYPE_F32},
    FileType{"F16", LLAMA_FTYPE_MOSTLY_F16, GGML_TYPE_F16},
    FileType{"BF16", LLAMA_FTYPE_MOSTLY_BF16, GGML_TYPE_BF16},
    FileType{"Q8_0", LLAMA_FTYPE_MOSTLY_Q8_0, GGML_TYPE_Q8_0},
    FileType{"Q6_K", LLAMA_FTYPE_MOSTLY_Q6_K, GGML_TYPE_Q6_K},
    FileType{"Q5_0", LLAMA_FTYPE_MOSTLY_Q5_0, GGML_TYPE_Q5_0},
    FileType{"Q5_1", LLAMA_FTYPE_MOSTLY_Q5_1, GGML_TYPE_Q5_1},
    FileType{"Q5_K_S", LLAMA_FTYPE_MOSTLY_Q5_K_S, GGML_TYPE_Q5_K},
    FileType{"Q5_K_M", LLAMA_FTYPE_MOSTLY_Q5_K_M, GGML_TYPE_Q5_K},
    FileType{"Q4_0", LLAMA_FTYPE_MOSTLY_Q4_0, GGML_TYPE_Q4_0},
    FileType{"Q4_1", LLAMA_FTYPE_MOSTLY_Q4_1, GGML_TYPE_Q4_1},
    FileType{"Q4_K_S", LLAMA_FTYPE_MOSTLY_Q4_K_S, GGML_TYPE_Q4_K},
    FileType{"Q4_K_M", LLAMA_FTYPE_MOSTLY_Q4_K_M, GGML_TYPE_Q4_K},
    FileType{"IQ4_NL", LLAMA_FTYPE_MOSTLY_IQ4_NL, GGML_TYPE_IQ4_NL},
    FileType{"Q3_K_S", LLAMA_FTYPE_MOSTLY_Q3_K_S, GGML_TYPE_Q3_K},
    FileType{"Q3_K_M", LLAMA_FTYPE_MOSTLY_Q3_K_M, GGML_TYPE_Q3_K},
    FileType{"Q2_K", LLAMA_FTYPE_MOSTLY_Q2_K, GGML_TYPE_Q2_K},
};

std::string upper_case(std::string word) {
    std::transform(word.begin(), word.end(), word.begin(), [](unsigned char c) { return std::toupper(c); });
    return word;
}

const FileType& type_from_string(const std::string& word) {
    std::string known;
    for (const FileType& type : kTypes) {
        if (upper_case(word) == type.name) return type;
        known += known.empty() ? type.name : std::string(", ") + type.name;
    }
    throw InputError("tensor type is '" + word + "': expected one of " + known);
}

llama_model_kv_override text_override(const char* key, const std::string& value) {
    llama_model_kv_override result{};
    result.tag = LLAMA_KV_OVERRIDE_TYPE_STR;
    std::snprintf(result.key, sizeof result.key, "%s", key);
    std::snprintf(result.val_str, sizeof result.val_str, "%s", value.c_str());
    return result;
}

llama_model_kv_override number_override(const char* key, std::int64_t value) {
    llama_model_kv_override result{};
    result.tag = LLAMA_KV_OVERRIDE_TYPE_INT;
    std::snprintf(result.key, sizeof result.key, "%s", key);
    result.val_i64 = value;
    return result;
}

// Small matrices that libllama leaves as they are (tensor_allows_quantization() of its llama-quant.cpp).
constexpr std::array kLeftAlone{"_norm.",
                                "ffn_gate_inp.",
                                "altup",
                                "laurel",
                                "per_layer_model_proj",
                                "ssm_conv1d",
                                "shortconv.",
                                "time_mix_",
                                "attn_rel_b",
                                "indexer.",
                                "tid2eid",
                                "hc_"};

// The matrices of the blocks: what libllama quantises, whatever it does with embeddings and head.
bool is_block_matrix(const gguf::Tensor& tensor) {
    const bool left_alone = std::any_of(kLeftAlone.begin(), kLeftAlone.end(), [&](const char* part) {
        return tensor.name.find(part) != std::string::npos;
    });
    return !left_alone && tensor.dims.size() == 2 && tensor.dims[1] > 1 &&
           tensor.name.find("blk.") != std::string::npos && tensor.name.ends_with(".weight");
}

// The first matrix whose rows are no multiple of the type's block.
const gguf::Tensor* find_misfit(const gguf::File& file, const FileType& type) {
    const auto n_block = static_cast<std::uint64_t>(ggml_blck_size(type.main_type));
    const auto found = std::find_if(
        file.tensors.begin(), file.tensors.end(),
        [&](const gguf::Tensor& tensor) { return is_block_matrix(tensor) && tensor.dims[0] % n_block != 0; });
    return found == file.tensors.end() ? nullptr : &*found;
}

void check_rows(const gguf::File& file, const FileType& type) {
    const gguf::Tensor* misfit = find_misfit(file, type);
    if (misfit == nullptr) return;
    throw InputError("tensor type is " + std::string(type.name) + ", of blocks of " +
                     std::to_string(ggml_blck_size(type.main_type)) +
                     ", but rows of the model are no multiple of that ('" + misfit->name + "' has rows of " +
                     std::to_string(misfit->dims[0]) + "): expected a type of blocks that fit, such as " +
                     (misfit->dims[0] % 32 == 0 ? "Q4_0 or Q8_0" : "F16"));
}

void check_not_quantised(const gguf::File& file, const FileType& type) {
    for (const gguf::Tensor& tensor : file.tensors) {
        if (!is_block_matrix(tensor) || !ggml_is_quantized(tensor.type) || tensor.type == type.main_type)
            continue;
        throw InputError("'" + file.path + "' is quantised already ('" + tensor.name + "' is " +
                         upper_case(ggml_type_name(tensor.type)) +
                         "): quantising it again adds one error to another, and has to be asked for "
                         "(allow_requantize)");
    }
}

// The blocks from `n_kept` on, ended by -1; empty where all are kept.
std::vector<std::int32_t> blocks_above(int n_kept, const ModelInfo& info) {
    const auto n_layers = static_cast<int>(info.n_layers);
    if (n_kept == 0 || n_kept == n_layers) return {};
    if (n_kept < 0 || n_kept > n_layers) {
        throw InputError("layers is " + std::to_string(n_kept) + ": expected 1 to " +
                         std::to_string(n_layers));
    }
    if (contains(kT5, info.architecture)) {
        throw InputError("layers is " + std::to_string(n_kept) + ", but blocks of the architecture '" +
                         info.architecture + "' cannot be left out: expected " + std::to_string(n_layers));
    }
    std::vector<std::int32_t> blocks;
    for (std::int32_t block = n_kept; block < n_layers; ++block) blocks.push_back(block);
    blocks.push_back(-1);
    return blocks;
}

// "[  12/ 272] blk.0. ..." begins what libllama says before each tensor.
bool begins_tensor(const char* line, int& n_begun, int& n_tensors) {
    return std::sscanf(line, "[%d/%d]", &n_begun, &n_tensors) == 2;
}

std::string room_left(const std::string& target) {
    std::error_code error;
    const auto parent = std::filesystem::path(target).parent_path();
    const auto space = std::filesystem::space(parent.empty() ? "." : parent, error);
    if (error) return "";
    return " (" + std::to_string(space.available / 1'000'000) + " MB are free there)";
}

}  // namespace

void quantize_file(const std::string& source, const std::string& target, const std::string& type_name,
                   const QuantizeOptions& options) {
    initialise_llama();
    const FileType& type = type_from_string(type_name);
    // Checks the file too: llama.cpp sees none that our own reader has not passed.
    const gguf::File file = gguf::open(source);
    const ModelInfo info = model_info_of(file);
    if (!options.allow_fallback) check_rows(file, type);
    if (!options.allow_requantize) check_not_quantised(file, type);
    const std::vector<std::int32_t> left_out = blocks_above(options.n_layers, info);

    const std::string origin =
        options.source_sha256.empty() ? model_identity(source).source_sha256 : options.source_sha256;
    std::vector<llama_model_kv_override> recorded{
        text_override(kIdentitySourceKey, origin),
        text_override(kIdentityTypeKey, type.name),
        text_override(kIdentityCommitKey, FASTPLR_LLAMA_CPP_COMMIT),
    };
    if (!left_out.empty()) recorded.push_back(number_override(kIdentityCutKey, options.n_layers));
    recorded.push_back({});  // an empty key ends the list

    llama_model_quantize_params params = llama_model_quantize_default_params();
    params.ftype = type.number;
    params.nthread = options.n_threads > 0 ? options.n_threads : available_cores();
    params.allow_requantize = true;  // checked above
    params.kv_overrides = recorded.data();
    if (!left_out.empty()) params.prune_layers = left_out.data();

    std::exception_ptr cancelled;
    const LogListener listener([&](const char* line) {
        int n_begun = 0;
        int n_tensors = 0;
        if (!options.on_progress || !begins_tensor(line, n_begun, n_tensors)) return;
        try {
            options.on_progress(n_begun - 1, n_tensors);
        } catch (...) {
            cancelled = std::current_exception();
            throw std::runtime_error("cancelled");  // libllama catches it, and gives up
        }
    });
    const NativeGuard guard;
    const bool failed = llama_model_quantize(source.c_str(), target.c_str(), &params) != 0;
    if (cancelled) std::rethrow_exception(cancelled);
    if (failed) {
        throw ModelError("'" + source + "' could not be written as " + type.name + " to '" + target + "'" +
                         room_left(target) + ": " + guard.errors());
    }
}

bool rows_fit(const std::string& source, const std::string& type) {
    return find_misfit(gguf::open(source), type_from_string(type)) == nullptr;
}

std::string kernel_of_type(const std::string& type_name) {
    // Those that ggml's repacked products exist for on x86-64, and those that it has no vector code for
    // there.
    constexpr std::array kRepacked{GGML_TYPE_Q4_0, GGML_TYPE_Q4_K, GGML_TYPE_IQ4_NL, GGML_TYPE_MXFP4};
    constexpr std::array kScalar{GGML_TYPE_Q1_0, GGML_TYPE_Q2_0};
    for (int number = 0; number < GGML_TYPE_COUNT; ++number) {
        const auto type = static_cast<ggml_type>(number);
        if (upper_case(ggml_type_name(type)) != upper_case(type_name)) continue;
        if (ggml_is_quantized(type) && kernels::format_of_ggml(type) != nullptr && !kernels_name().empty()) {
            return "fastplr " + kernels_name();
        }
        const auto is_in = [type](const auto& types) {
            return std::find(types.begin(), types.end(), type) != types.end();
        };
        const bool repacked = is_in(kRepacked) || (type == GGML_TYPE_Q2_K && ggml_cpu_has_avx512() != 0);
        return repacked ? "ggml, repacked" : is_in(kScalar) ? "ggml, scalar" : "ggml";
    }
    throw InputError("tensor type is '" + type_name + "': expected one that ggml has");
}

}  // namespace fastplr
