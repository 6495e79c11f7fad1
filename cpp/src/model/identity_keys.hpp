// GGUF keys under which fastplr's quantiser records where a variant came from.
#pragma once

namespace fastplr {

inline constexpr const char* kIdentitySourceKey = "fastplr.source_sha256";
inline constexpr const char* kIdentityTypeKey = "fastplr.tensor_type";
inline constexpr const char* kIdentityCutKey = "fastplr.n_layers_kept";
inline constexpr const char* kIdentityCommitKey = "fastplr.llama_cpp_commit";

}  // namespace fastplr
