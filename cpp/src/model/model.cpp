#include "fastplr/model.hpp"

#include <algorithm>
#include <exception>
#include <new>

#include "available_memory.hpp"
#include "ggml-backend.h"
#include "kernels/ggml_join.hpp"
#include "kernels/variant.hpp"
#include "llama-arch.h"
#include "llama-model.h"
#include "model/architecture_rules.hpp"
#include "model/file_cursor.hpp"
#include "model/llama_log.hpp"
#include "model/native.hpp"
#include "model/weight_bytes.hpp"

namespace fastplr {
namespace {

struct LoadProgress {
    const std::function<void(double)>& report;
    std::exception_ptr error;
};

// llama.cpp calls this through C code: an exception must not pass, it is kept and thrown after loading has
// stopped.
bool on_load_progress(float fraction, void* user_data) {
    auto& progress = *static_cast<LoadProgress*>(user_data);
    try {
        if (progress.report) progress.report(fraction);
        return true;
    } catch (...) {
        progress.error = std::current_exception();
        return false;
    }
}

void check_architecture(const ModelInfo& info) {
    if (llm_arch_from_string(info.architecture) == LLM_ARCH_UNKNOWN) {
        throw UnsupportedArchitecture("model file '" + info.path + "' has the architecture '" +
                                      info.architecture + "', which this version of llama.cpp does not know");
    }
}

// Weights go to memory of this machine. Throws ModelMemoryError.
void check_weights_fit(const gguf::File& file, const ModelInfo& info, std::uint64_t n_blocks,
                       bool floats_in_8_bits) {
    const std::string subject =
        n_blocks < info.n_layers ? "the first " + std::to_string(n_blocks) + " blocks of it" : "it";
    check_memory<ModelMemoryError>(model_file_message(info.path, "loading " + subject),
                                   static_cast<double>(weight_bytes(file, info, n_blocks, floats_in_8_bits)));
}

}  // namespace

Model::Model(std::unique_ptr<Native> native) : native_(std::move(native)) {}
Model::~Model() = default;

std::shared_ptr<const Model> Model::load(const std::string& path, const ModelOptions& options) {
    try {
        return std::shared_ptr<const Model>(new Model(load_native(path, options)));
    } catch (const std::bad_alloc&) {
        throw ModelMemoryError(model_file_message(path, "memory ran out while it was loaded"));
    }
}

std::unique_ptr<Model::Native> Model::load_native(const std::string& path, const ModelOptions& options) {
    initialise_llama();
    auto native = std::make_unique<Native>();
    const gguf::File file = gguf::open(path);
    native->info = model_info_of(file);
    check_architecture(native->info);
    native->accelerated = options.n_gpu_layers != 0;
    if (native->accelerated && !accelerator_available()) {
        throw InputError("n_gpu_layers is " + std::to_string(options.n_gpu_layers) +
                         ", but this build of fastplr finds no accelerator: expected 0");
    }

    const auto n_blocks = static_cast<int>(native->info.n_layers);
    if (options.max_layer < kAllLayers || options.max_layer > n_blocks) {
        throw InputError("max_layer is " + std::to_string(options.max_layer) + ": expected 0 to " +
                         std::to_string(n_blocks) + ", or -1 for all layers");
    }
    const bool partial = options.max_layer != kAllLayers && options.max_layer < n_blocks &&
                         contains(kLoadsFirstBlocks, native->info.architecture);
    const int n_loaded = partial ? std::max(options.max_layer, 1) : n_blocks;
    const bool in_8_bits =
        options.kernels && options.floats_in_8_bits && kernels::chosen_variant() != nullptr;
    if (!native->accelerated) {
        check_weights_fit(file, native->info, static_cast<std::uint64_t>(n_loaded), in_8_bits);
    }

    if (kernels::chosen_variant() != nullptr) kernels::join_ggml();
    const kernels::LoadFor load_for(!options.kernels           ? kernels::Matrices::none
                                    : options.floats_in_8_bits ? kernels::Matrices::floats_too
                                                               : kernels::Matrices::quantised);
    native->kernels = options.kernels && kernels::chosen_variant() != nullptr && !native->accelerated;
    const NativeGuard guard;
    LoadProgress progress{options.on_progress, nullptr};
    llama_model_params params = llama_model_default_params();
    params.n_gpu_layers = options.n_gpu_layers;
    // Without a list llama.cpp takes every accelerator, and lets it multiply the weights that the CPU holds.
    static ggml_backend_dev_t no_devices[] = {nullptr};
    if (!native->accelerated) params.devices = no_devices;
    // A mapped file that somebody overwrites takes the process with it.
    params.load_mode = LLAMA_LOAD_MODE_NONE;
    params.lazy_mode = LLAMA_LAZY_MODE_OFF;
    params.no_head = true;
    params.encoder_only = true;
    if (partial) params.n_layer_load = n_loaded;
    params.progress_callback = on_load_progress;
    params.progress_callback_user_data = &progress;
    native->llama.reset(llama_model_load_from_file(path.c_str(), params));
    if (progress.error) std::rethrow_exception(progress.error);
    if (!native->llama) {
        if (guard.out_of_memory()) {
            const auto n_bytes =
                weight_bytes(file, native->info, static_cast<std::uint64_t>(n_loaded), in_8_bits);
            throw ModelMemoryError(model_file_message(
                path, "memory for its weights, " + megabytes(static_cast<double>(n_bytes)) +
                          ", could not be allocated: " + guard.errors()));
        }
        throw ModelError("model file '" + path + "' could not be loaded: " + guard.errors());
    }

    // Pooling is ours. llama.cpp would plan a graph for the file's own, which fails (an assertion) for
    // encoders where n_batch is no multiple of the number of sequences.
    native->llama->hparams.pooling_type = LLAMA_POOLING_TYPE_NONE;
    const llama_model* llama = native->llama.get();
    native->n_layers = partial ? n_blocks : llama_model_n_layer(llama);
    native->max_layer = partial ? options.max_layer : kAllLayers;
    native->recurrent = llama_model_is_recurrent(llama) || llama_model_is_hybrid(llama);
    native->ends_with_block = contains(kEndsWithBlock, native->info.architecture);
    native->pair_bias = llama->hparams.n_rel_attn_bkts > 0;
    if (!llama->layers.empty() && llama->layers.front().rope_long != nullptr) {
        native->n_ctx_short_rope = llama->hparams.n_ctx_orig_yarn;
    }
    // T5's attention is causal in its decoder, which is not loaded.
    native->encoder = !llama->hparams.causal_attn || llama_model_has_encoder(llama);
    return native;
}

const ModelInfo& Model::info() const { return native_->info; }
int Model::n_layers() const { return native_->n_layers; }
int Model::max_layer() const { return native_->max_layer; }
std::size_t Model::n_bytes_loaded() const {
    std::size_t n_bytes = 0;
    for (const auto& [name, tensor] : native_->llama->tensors_by_name) {
        const bool rounded = kernels::computes(tensor) && !ggml_is_quantized(tensor->type);
        n_bytes += rounded ? ggml_backend_buffer_get_alloc_size(tensor->buffer, tensor) : ggml_nbytes(tensor);
    }
    return n_bytes;
}
std::map<std::string, int> Model::types_left_to_ggml() const {
    std::map<std::string, int> types;
    for (const auto& [name, tensor] : native_->llama->tensors_by_name) {
        const bool of_block = name.find("blk.") != std::string::npos;
        if (of_block && ggml_n_dims(tensor) >= 2 && !kernels::computes(tensor))
            ++types[ggml_type_name(tensor->type)];
    }
    return types;
}
int Model::n_embd() const { return llama_model_n_embd(native_->llama.get()); }
int Model::n_ctx_train() const { return llama_model_n_ctx_train(native_->llama.get()); }
bool Model::is_encoder() const { return native_->encoder; }
bool Model::uses_accelerator() const { return native_->accelerated; }

std::string kernels_name() {
    const kernels::Variant* variant = kernels::chosen_variant();
    return variant == nullptr ? "" : variant->name;
}

bool accelerator_available() {
    initialise_llama();
    return llama_supports_gpu_offload();
}

}  // namespace fastplr
