#include "quantize/quantize.hpp"

#include <algorithm>
#include <array>
#include <cctype>
#include <cstdio>
#include <utility>

#include "fastplr/errors.hpp"
#include "fastplr/model_identity.hpp"
#include "fastplr/model_info.hpp"
#include "llama.h"
#include "model/identity_keys.hpp"
#include "model/llama_log.hpp"

namespace fastplr {
namespace {

constexpr std::array<std::pair<const char*, llama_ftype>, 15> kTypes{{
    {"F32", LLAMA_FTYPE_ALL_F32},
    {"F16", LLAMA_FTYPE_MOSTLY_F16},
    {"BF16", LLAMA_FTYPE_MOSTLY_BF16},
    {"Q8_0", LLAMA_FTYPE_MOSTLY_Q8_0},
    {"Q6_K", LLAMA_FTYPE_MOSTLY_Q6_K},
    {"Q5_0", LLAMA_FTYPE_MOSTLY_Q5_0},
    {"Q5_1", LLAMA_FTYPE_MOSTLY_Q5_1},
    {"Q5_K_M", LLAMA_FTYPE_MOSTLY_Q5_K_M},
    {"Q4_0", LLAMA_FTYPE_MOSTLY_Q4_0},
    {"Q4_1", LLAMA_FTYPE_MOSTLY_Q4_1},
    {"Q4_K_M", LLAMA_FTYPE_MOSTLY_Q4_K_M},
    {"Q4_K_S", LLAMA_FTYPE_MOSTLY_Q4_K_S},
    {"IQ4_NL", LLAMA_FTYPE_MOSTLY_IQ4_NL},
    {"Q3_K_M", LLAMA_FTYPE_MOSTLY_Q3_K_M},
    {"Q2_K", LLAMA_FTYPE_MOSTLY_Q2_K},
}};

std::string upper_case(std::string word) {
    std::transform(word.begin(), word.end(), word.begin(), [](unsigned char c) { return std::toupper(c); });
    return word;
}

llama_ftype type_from_string(const std::string& word) {
    std::string known;
    for (const auto& [name, type] : kTypes) {
        if (upper_case(word) == name) return type;
        known += known.empty() ? name : std::string(", ") + name;
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

}  // namespace

void quantize_file(const std::string& source, const std::string& target, const std::string& type,
                   int n_threads, const std::string& source_sha256) {
    initialise_llama();
    llama_model_quantize_params params = llama_model_quantize_default_params();
    params.ftype = type_from_string(type);
    const std::string canonical = upper_case(type);
    params.nthread = n_threads;
    params.allow_requantize = true;
    // Checks the file too: llama.cpp sees none that our own reader has not passed.
    const std::string origin = source_sha256.empty() ? model_identity(source).source_sha256 : source_sha256;
    (void)read_model_info(source);
    const std::array<llama_model_kv_override, 4> recorded{
        text_override(kIdentitySourceKey, origin),
        text_override(kIdentityTypeKey, canonical),
        text_override(kIdentityCommitKey, FASTPLR_LLAMA_CPP_COMMIT),
        llama_model_kv_override{},  // an empty key ends the list
    };
    params.kv_overrides = recorded.data();

    const NativeGuard guard;
    if (llama_model_quantize(source.c_str(), target.c_str(), &params) != 0) {
        throw ModelError("'" + source + "' could not be written as " + type + " to '" + target +
                         "': " + guard.errors());
    }
}

}  // namespace fastplr
