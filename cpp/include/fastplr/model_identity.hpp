// Which model a file is: the source it came from, and what was made of it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "fastplr/errors.hpp"

namespace fastplr {

struct ModelIdentity {
    /// sha256 (hex) of the source file.
    std::string source_sha256;
    /// Tensor type that fastplr quantised the source to ("Q4_0"); empty for the source file itself.
    std::string tensor_type;
    /// llama.cpp commit whose quantiser made the variant; empty for the source file itself.
    std::string llama_cpp_commit;
    /// Blocks that were kept, from the first on; 0 where all were.
    std::uint64_t n_layers_kept = 0;

    bool operator==(const ModelIdentity&) const = default;
};

/// The identity that fastplr's quantiser wrote into a variant; empty for any other file. Throws ModelError.
std::optional<ModelIdentity> recorded_identity(const std::string& path);

/// The recorded identity, or that of a file that is its own source, which is hashed. Throws ModelError.
ModelIdentity model_identity(const std::string& path);

}  // namespace fastplr
