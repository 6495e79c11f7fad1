#include "model/weight_bytes.hpp"

#include <string>

#include "model/architecture_rules.hpp"
#include "model/model_checks.hpp"

namespace fastplr {

std::uint64_t weight_bytes(const gguf::File& file, const ModelInfo& info, std::uint64_t n_blocks) {
    const bool t5 = contains(kT5, info.architecture);
    const std::string prefix = t5 ? "enc.blk." : "blk.";
    std::uint64_t n_bytes = 0;
    for (const gguf::Tensor& tensor : file.tensors) {
        const std::int64_t block = block_of(tensor.name, prefix);
        const bool left_out = block >= 0
                                  ? static_cast<std::uint64_t>(block) >= n_blocks
                                  : tensor.name == "output.weight" || (t5 && tensor.name.starts_with("dec."));
        if (!left_out) n_bytes += tensor.n_bytes;
    }
    return n_bytes;
}

}  // namespace fastplr
