// A GGUF file of another tensor type, made by libllama's own quantiser.
#pragma once

#include <string>

namespace fastplr {

/// Reads the model at `source` and writes it to `target` with its weight matrices in `type` ("Q4_0", "Q8_0",
/// "F16", "F32", "Q4_K_M", ... as llama.cpp writes them, upper or lower case). A source that is quantised
/// already is quantised again. The source's sha256 (computed where `source_sha256` is empty), the type and
/// llama.cpp's commit are recorded in the new file: model_identity() reads them. `target` may be left
/// half-written on failure: write to a temporary name and rename. Throws InputError (unknown type),
/// ModelError (source not usable, quantiser failed).
void quantize_file(const std::string& source, const std::string& target, const std::string& type,
                   int n_threads, const std::string& source_sha256 = {});

}  // namespace fastplr
