#include "model/model_checks.hpp"

#include <algorithm>
#include <array>
#include <charconv>
#include <string_view>
#include <vector>

#include "fastplr/errors.hpp"
#include "model/architecture_rules.hpp"
#include "model/file_cursor.hpp"
#include "model/printable.hpp"

namespace fastplr {

namespace {

/// ggml's CPU buffers refuse (by assertion) tensor data at other addresses; a mapped file begins at a page
/// boundary.
constexpr std::uint64_t kTensorAlignment = 32;

/// The kinds of tensors that enter additions, products of elements, or other operators that the CPU has for
/// float32 only.
constexpr std::array<std::string_view, 9> kFloat32Names{"_norm.",      ".bias",      "ssm_conv1d",
                                                        "ssm_a",       "ssm_d",      "shortconv.conv",
                                                        "token_types", "attn_sinks", "rope_f"};

bool must_be_float32(const gguf::Tensor& tensor) {
    const bool one_row =
        std::all_of(tensor.dims.begin() + 1, tensor.dims.end(), [](std::uint64_t dim) { return dim == 1; });
    return one_row || std::any_of(kFloat32Names.begin(), kFloat32Names.end(), [&](std::string_view fragment) {
               return tensor.name.find(fragment) != std::string::npos;
           });
}

void check_type(const gguf::File& file, const gguf::Tensor& tensor) {
    const std::string what = "tensor " + quoted(tensor.name);
    if (must_be_float32(tensor)) {
        if (tensor.type != GGML_TYPE_F32) {
            file.fail(what + " is of type " + ggml_type_name(tensor.type) +
                      "; norms, biases and other vectors are expected in f32");
        }
    } else if (tensor.type != GGML_TYPE_F32 && ggml_get_type_traits(tensor.type)->to_float == nullptr) {
        // Integers, float64 and the intermediate types q8_1 and q8_K have no matrix product.
        file.fail(what + " is of type " + ggml_type_name(tensor.type) +
                  ", which cannot hold weights; expected f32, f16, bf16 or a quantised type");
    }
}

void check_blocks(const gguf::File& file, const std::string& architecture) {
    const std::uint64_t n_layers = file.find_unsigned(architecture + ".block_count").value_or(0);
    const bool t5 = contains(kT5, architecture);
    const std::string prefix = t5 ? "enc.blk." : "blk.";  // the decoder of a T5 is not looked at
    std::vector<bool> present(static_cast<std::size_t>(n_layers), false);
    for (const gguf::Tensor& tensor : file.tensors) {
        const std::int64_t block = block_of(tensor.name, prefix);
        if (block < 0) continue;
        if (static_cast<std::uint64_t>(block) >= n_layers) {
            file.fail("tensor " + quoted(tensor.name) + " belongs to block " + std::to_string(block) +
                      ", but " + quoted(architecture + ".block_count") + " is " + std::to_string(n_layers));
        }
        present[static_cast<std::size_t>(block)] = true;
    }
    const auto missing = std::find(present.begin(), present.end(), false);
    if (missing != present.end()) {
        const auto block = std::to_string(missing - present.begin());
        file.fail("has no tensors of block " + block + " (" + quoted(prefix + block + ".*") + "), but " +
                  quoted(architecture + ".block_count") + " is " + std::to_string(n_layers));
    }
    // Blocks without a relative attention bias of their own use the first one's.
    if (t5 && file.find_tensor("enc.blk.0.attn_rel_b.weight") == nullptr) {
        file.fail(
            "has no tensor 'enc.blk.0.attn_rel_b.weight'; expected the relative attention bias of the "
            "encoder");
    }
}

}  // namespace

std::int64_t block_of(std::string_view name, std::string_view prefix) {
    if (!name.starts_with(prefix)) return -1;
    std::int64_t block = -1;
    const char* end = name.data() + name.size();
    const auto [stop, error] = std::from_chars(name.data() + prefix.size(), end, block);
    return error == std::errc() && stop != end && *stop == '.' ? block : -1;
}

std::string require_architecture(const gguf::File& file) {
    const auto architecture = file.find_string("general.architecture");
    if (!architecture) {
        file.fail(file.has_key("general.architecture")
                      ? "'general.architecture' is no string; expected a name such as 'llama'"
                      : "metadata 'general.architecture' is missing; expected a name such as 'llama'");
    }
    if (architecture->empty()) file.fail("'general.architecture' is empty; expected a name such as 'llama'");
    return *architecture;
}

void check_tensors(const gguf::File& file, const std::string& architecture, std::uint64_t n_vocab) {
    const gguf::Tensor* embedding = file.find_tensor("token_embd.weight");
    if (embedding == nullptr)
        file.fail("has no tensor 'token_embd.weight'; expected the token embeddings of a language model");
    const std::uint64_t n_embd = file.find_unsigned(architecture + ".embedding_length").value_or(0);
    if (embedding->dims != std::vector<std::uint64_t>{n_embd, n_vocab}) {
        file.fail("tensor 'token_embd.weight' has the shape " + gguf::dims_text(embedding->dims) +
                  "; expected " + gguf::dims_text({n_embd, n_vocab}) + " (" +
                  quoted(architecture + ".embedding_length") + ", number of tokens)");
    }
    for (const gguf::Tensor& tensor : file.tensors) {
        check_type(file, tensor);
        if (tensor.offset % kTensorAlignment != 0) {
            file.fail("tensor " + quoted(tensor.name) + " begins at byte " + std::to_string(tensor.offset) +
                      "; model tensors must begin at a multiple of " + std::to_string(kTensorAlignment) +
                      " ('general.alignment' is " + std::to_string(file.alignment) + ")");
        }
    }
    check_blocks(file, architecture);
}

void check_model(const gguf::File& file) {
    const std::string architecture = require_architecture(file);
    if (architecture == "fastplr-classifier") {
        file.fail("is a classifier saved by fastplr, no language model; load it with fastplr.load");
    }
    if (contains(kOtherNetworks, architecture)) {
        throw UnsupportedArchitecture(
            model_file_message(file.path, "has the architecture " + quoted(architecture) +
                                              "; expected a causal decoder or an encoder of text"));
    }
    if (const auto n_files = file.find_unsigned("split.count"); n_files.value_or(1) > 1) {
        file.fail("is one of " + std::to_string(*n_files) +
                  " parts of a split model ('split.count'); merge them into one file first");
    }
    check_hyperparameters(file, architecture);
    check_tensors(file, architecture, check_vocabulary(file));
}

}  // namespace fastplr
