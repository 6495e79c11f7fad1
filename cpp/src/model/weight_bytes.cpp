#include "model/weight_bytes.hpp"

#include <string>

#include "kernels/ggml_join.hpp"
#include "model/architecture_rules.hpp"
#include "model/model_checks.hpp"

namespace fastplr {

namespace {

bool is_rounded(const gguf::Tensor& tensor) {
    const bool floats =
        tensor.type == GGML_TYPE_F32 || tensor.type == GGML_TYPE_F16 || tensor.type == GGML_TYPE_BF16;
    return floats && tensor.dims.size() == 2 && tensor.dims[0] % 32 == 0 &&
           kernels::may_be_rounded(tensor.name);
}

}  // namespace

std::uint64_t weight_bytes(const gguf::File& file, const ModelInfo& info, std::uint64_t n_blocks,
                           bool floats_in_8_bits) {
    const bool t5 = contains(kT5, info.architecture);
    const std::string prefix = t5 ? "enc.blk." : "blk.";
    std::uint64_t n_bytes = 0;
    for (const gguf::Tensor& tensor : file.tensors) {
        const std::int64_t block = block_of(tensor.name, prefix);
        const bool left_out = block >= 0
                                  ? static_cast<std::uint64_t>(block) >= n_blocks
                                  : tensor.name == "output.weight" || (t5 && tensor.name.starts_with("dec."));
        if (left_out) continue;
        // 32 bytes and a scale in 2
        n_bytes += floats_in_8_bits && is_rounded(tensor) ? tensor.n_elements / 32 * 34 : tensor.n_bytes;
    }
    return n_bytes;
}

}  // namespace fastplr
