// What an embedder is asked for, checked before anything is computed.
#pragma once

#include "fastplr/embedder.hpp"

namespace fastplr {

/// The options with their defaults filled in for this model. Throws InputError for a number out of range.
EmbedderOptions checked(EmbedderOptions options, const Model& model);

/// Throws InputError for layers, poolings or a prompt that the model, as it was loaded, cannot serve.
void check_request(const EmbedRequest& request, const Model& model);

}  // namespace fastplr
