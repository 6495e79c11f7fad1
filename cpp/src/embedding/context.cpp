#include "embedding/context.hpp"

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <string>

#include "llama-model.h"
#include "model/llama_log.hpp"

#if defined(__unix__) || defined(__APPLE__)
#include <unistd.h>
#endif

namespace fastplr {
namespace {

// Bytes that a context of this shape needs at the least: keys and values in float16; for T5 the relative
// attention bias and the attention itself, in float32 for each pair of tokens.
double bytes_needed(const Model& model, const ContextShape& shape) {
    const llama_model* llama = model.native().llama.get();
    if (model.native().pair_bias) {
        const auto n_batch = static_cast<double>(shape.n_batch);
        return 8.0 * llama->hparams.n_head() * n_batch * n_batch;
    }
    double per_token = 0;
    if (!model.is_encoder()) {
        for (int layer = 0; layer < llama_model_n_layer(llama); ++layer) {
            const auto il = static_cast<uint32_t>(layer);
            per_token += 2.0 * (llama->hparams.n_embd_k_gqa(il) + llama->hparams.n_embd_v_gqa(il));
        }
    }
    return per_token * static_cast<double>(shape.n_ctx);
}

double physical_memory() {
#if defined(__unix__) || defined(__APPLE__)
    return static_cast<double>(sysconf(_SC_PHYS_PAGES)) * static_cast<double>(sysconf(_SC_PAGE_SIZE));
#else
    return 1e18;
#endif
}

std::string described(const Model& model, const ContextShape& shape) {
    char size[32];
    std::snprintf(size, sizeof size, "%.1f MB", bytes_needed(model, shape) / 1e6);
    return std::string(size) + " or more for n_ctx " + std::to_string(shape.n_ctx) + " and n_batch " +
           std::to_string(shape.n_batch);
}

}  // namespace

Context::Context(const Model& model, const ContextShape& shape, int n_threads, LayerCapture& capture)
    : shape_(shape),
      model_(model),
      capture_(capture),
      max_texts_(model.native().recurrent ? 1 : std::min(shape.n_batch, kMaxTextsPerBatch)) {
    if (bytes_needed(model, shape) > physical_memory()) {
        throw ContextMemoryError("a context needs " + described(model, shape) +
                                 ", more than this machine has");
    }
    const NativeGuard guard;
    llama_context_params params = llama_context_default_params();
    params.n_ctx = static_cast<uint32_t>(shape.n_ctx);
    params.n_batch = static_cast<uint32_t>(shape.n_batch);
    params.n_ubatch = static_cast<uint32_t>(shape.n_batch);
    params.n_seq_max = static_cast<uint32_t>(max_texts_);
    params.kv_unified = true;
    // A sliding-window cache of its own size would forget while a long text is fed in pieces, or texts
    // continue from a shared prefix.
    params.swa_full = true;
    params.n_outputs_max = static_cast<uint32_t>(shape.n_batch);
    params.embeddings = model.is_encoder();
    params.n_threads = n_threads;
    params.n_threads_batch = n_threads;
    params.no_perf = true;
    params.cb_eval = LayerCapture::on_eval;
    params.cb_eval_user_data = &capture;
    params.cb_cut = LayerCapture::on_graph;
    params.cb_cut_user_data = &capture;
    context_.reset(llama_init_from_model(const_cast<llama_model*>(model.native().llama.get()), params));
    if (!context_) {
        throw ContextMemoryError("a context could not be created (" + described(model, shape) +
                                 "): " + guard.errors());
    }
    capture.check_graph(model.info().architecture);
    ggml_threadpool_params pool_params = ggml_threadpool_params_default(n_threads);
    pool_params.poll = 0;  // between batches a thread sleeps: it would burn a core that others could use
    pool_.reset(ggml_threadpool_new(&pool_params));
    if (!pool_)
        throw ContextMemoryError("a pool of " + std::to_string(n_threads) + " threads could not be created");
    llama_attach_threadpool(context_.get(), pool_.get(), pool_.get());
    use_long_rope(false);
    batch_ = llama_batch_init(static_cast<int32_t>(shape.n_batch), 0, static_cast<int32_t>(max_texts_));
}

Context::~Context() {
    if (batch_.token != nullptr) llama_batch_free(batch_);
}

void Context::add_tokens(const std::vector<Piece>& pieces, std::size_t piece, std::size_t first_position) {
    for (std::size_t t = pieces[piece].n_shared; t < pieces[piece].tokens.size; ++t) {
        const int32_t n = batch_.n_tokens++;
        batch_.token[n] = pieces[piece].tokens.tokens[t];
        batch_.pos[n] = static_cast<llama_pos>(first_position + t);
        batch_.logits[n] = 1;  // the last block keeps the rows of outputs only
        batch_.n_seq_id[n] = 0;
        for (std::size_t s = piece; s == piece || (s < pieces.size() && pieces[s].n_shared > t); ++s) {
            batch_.seq_id[n][batch_.n_seq_id[n]++] = static_cast<llama_seq_id>(s);
        }
    }
}

void Context::decode(const std::vector<Piece>& pieces, std::size_t first_position) {
    batch_.n_tokens = 0;
    for (std::size_t s = 0; s < pieces.size(); ++s) add_tokens(pieces, s, first_position);
    const NativeGuard guard;
    const int32_t status = llama_decode(context_.get(), batch_);
    if (status != 0) {
        throw ModelError("llama.cpp could not compute a batch of " + std::to_string(batch_.n_tokens) +
                         " tokens (status " + std::to_string(status) + "): " + guard.errors());
    }
    capture_.finish(model_.info().architecture);
}

void Context::forget(std::size_t position) {
    llama_memory_t memory = llama_get_memory(context_.get());
    if (memory == nullptr) return;
    if (position == 0) {
        llama_memory_clear(memory, false);
    } else {
        llama_memory_seq_rm(memory, -1, static_cast<llama_pos>(position), -1);
    }
}

void Context::use_long_rope(bool use) {
    // Left alone, llama.cpp goes by the size of the context, which here says nothing of the text.
    llama_set_n_ctx_rope(context_.get(), use ? UINT32_MAX : 1);
}

void Context::share_first_sequence(std::size_t first) {
    llama_memory_t memory = llama_get_memory(context_.get());
    for (std::size_t s = first; s < max_texts_; ++s) {
        llama_memory_seq_cp(memory, 0, static_cast<llama_seq_id>(s), -1, -1);
    }
}

void Context::abandon() {
    (void)context_.release();
    (void)pool_.release();
    batch_ = llama_batch{};
}

}  // namespace fastplr
