#include "fastplr/model_identity.hpp"

#include "fastplr/sha256.hpp"
#include "model/gguf_reader.hpp"
#include "model/identity_keys.hpp"

namespace fastplr {

std::optional<ModelIdentity> recorded_identity(const std::string& path) {
    const gguf::File file = gguf::open(path);
    const auto source = file.find_string(kIdentitySourceKey);
    if (!source) return std::nullopt;
    return ModelIdentity{*source, file.find_string(kIdentityTypeKey).value_or(""),
                         file.find_string(kIdentityCommitKey).value_or(""),
                         file.find_unsigned(kIdentityCutKey).value_or(0)};
}

ModelIdentity model_identity(const std::string& path) {
    if (auto recorded = recorded_identity(path)) return *recorded;
    return {sha256_file(path), "", "", 0};
}

}  // namespace fastplr
