#include "embedding/context.hpp"

#include <algorithm>
#include <cstdint>
#include <new>
#include <string>

#include "available_memory.hpp"
#include "kernels/graph_plan.hpp"
#include "llama-ext.h"
#include "llama-model.h"
#include "model/llama_log.hpp"

namespace fastplr {
namespace {

constexpr int32_t kAllocationFailed = -2;  // of llama_decode()

// Bytes that a context of this shape needs at the least: one state of every token in float32; keys and values
// in float16; for T5 the relative attention bias and the attention itself, in float32 for each pair of
// tokens.
double bytes_needed(const Model& model, const ContextShape& shape) {
    const llama_model* llama = model.native().llama.get();
    const auto n_batch = static_cast<double>(shape.n_batch);
    double n_bytes = 4.0 * model.n_embd() * n_batch;
    if (model.native().pair_bias) n_bytes += 8.0 * llama->hparams.n_head() * n_batch * n_batch;
    if (!model.is_encoder()) {
        double per_token = 0;
        for (int layer = 0; layer < llama_model_n_layer(llama); ++layer) {
            const auto il = static_cast<uint32_t>(layer);
            per_token += 2.0 * (llama->hparams.n_embd_k_gqa(il) + llama->hparams.n_embd_v_gqa(il));
        }
        n_bytes += per_token * static_cast<double>(shape.n_ctx);
    }
    return n_bytes;
}

std::string described(const ContextShape& shape) {
    return "a context for n_ctx " + std::to_string(shape.n_ctx) + " and n_batch " +
           std::to_string(shape.n_batch);
}

}  // namespace

Context::Context(const Model& model, const ContextShape& shape, int max_threads, LayerCapture& capture)
    : shape_(shape),
      model_(model),
      capture_(capture),
      max_texts_(model.native().recurrent ? 1 : std::min(shape.n_batch, kMaxTextsPerBatch)) {
    // An accelerator has memory of its own.
    if (!model.uses_accelerator()) {
        check_memory<ContextMemoryError>(described(shape), bytes_needed(model, shape));
    }
    const NativeGuard guard;
    try {
        create(max_threads);
    } catch (const std::bad_alloc&) {
        throw_out_of_memory("", guard);
    }
    if (context_ && pool_) {
        capture.check_graph(model.info().architecture);
        return;
    }
    if (context_) {
        throw ContextMemoryError(
            "a pool of " + std::to_string(max_threads) +
            " threads could not be created, for want of memory or because the system grants no "
            "more threads: " +
            guard.errors());
    }
    if (guard.out_of_memory()) throw_out_of_memory("", guard);
    throw ModelError(described(shape) + " could not be created: " + guard.errors());
}

void Context::throw_out_of_memory(const std::string& what, const NativeGuard& guard) const {
    throw ContextMemoryError("memory for " + what + described(shape_) + ", " +
                             megabytes(bytes_needed(model_, shape_)) + " or more, could not be allocated (" +
                             guard.errors() + ")");
}

void Context::create(int max_threads) {
    llama_context_params params = llama_context_default_params();
    params.n_ctx = static_cast<uint32_t>(shape_.n_ctx);
    params.n_batch = static_cast<uint32_t>(shape_.n_batch);
    params.n_ubatch = static_cast<uint32_t>(shape_.n_batch);
    params.n_seq_max = static_cast<uint32_t>(max_texts_);
    params.kv_unified = true;
    // A sliding-window cache of its own size would forget while a long text is fed in pieces, or texts
    // continue from a shared prefix.
    params.swa_full = true;
    params.n_outputs_max = static_cast<uint32_t>(shape_.n_batch);
    params.embeddings = model_.is_encoder();
    params.n_threads = max_threads;
    params.n_threads_batch = max_threads;
    params.no_perf = true;
    params.cb_eval = LayerCapture::on_eval;
    params.cb_eval_user_data = &capture_;
    params.cb_cut = on_graph;
    params.cb_cut_user_data = this;
    params.abort_callback = on_abort;
    params.abort_callback_data = this;
    batch_.emplace(shape_.n_batch, max_texts_);
    context_.reset(llama_init_from_model(const_cast<llama_model*>(model_.native().llama.get()), params));
    if (!context_) return;
    ggml_threadpool_params pool_params = ggml_threadpool_params_default(max_threads);
    pool_params.poll = 0;  // between batches a thread sleeps: it would burn a core that others could use
    pool_.reset(ggml_threadpool_new(&pool_params));
    if (!pool_) return;
    llama_attach_threadpool(context_.get(), pool_.get(), pool_.get());
    use_long_rope(false);
}

void Context::add_tokens(const std::vector<Piece>& pieces, std::size_t piece, std::size_t first_position) {
    llama_batch& batch = batch_->view;
    for (std::size_t t = pieces[piece].n_shared; t < pieces[piece].tokens.size; ++t) {
        const int32_t n = batch.n_tokens++;
        batch.token[n] = pieces[piece].tokens.tokens[t];
        batch.pos[n] = static_cast<llama_pos>(first_position + t);
        batch.logits[n] = 1;  // the last block keeps the rows of outputs only
        batch.n_seq_id[n] = 0;
        for (std::size_t s = piece; s == piece || (s < pieces.size() && pieces[s].n_shared > t); ++s) {
            batch.seq_id[n][batch.n_seq_id[n]++] = static_cast<llama_seq_id>(s);
        }
    }
}

int Context::on_graph(ggml_cgraph* graph, void* self) {
    auto* context = static_cast<Context*>(self);
    const int n_nodes = LayerCapture::on_graph(graph, &context->capture_);
    if (context->model_.native().kernels) {
        const auto is_read = [context](const ggml_tensor* tensor) {
            return context->capture_.wants(tensor->name);
        };
        kernels::take_over(graph, n_nodes, is_read, context->plans_);
    }
    return n_nodes;
}

bool Context::on_abort(void* self) {
    const auto* is_stopped = static_cast<Context*>(self)->is_stopped_;
    if (is_stopped == nullptr || !(*is_stopped)()) return false;
    NativeGuard::silence();  // that a graph was not computed to its end is no error
    return true;
}

void Context::decode(const std::vector<Piece>& pieces, std::size_t first_position,
                     const IsStopped& is_stopped) {
    llama_batch& batch = batch_->view;
    batch.n_tokens = 0;
    for (std::size_t s = 0; s < pieces.size(); ++s) add_tokens(pieces, s, first_position);
    const NativeGuard guard;
    int32_t status = 0;
    is_stopped_ = &is_stopped;
    try {
        status = llama_decode(context_.get(), batch);
    } catch (const std::bad_alloc&) {
        status = kAllocationFailed;
    }
    is_stopped_ = nullptr;
    if (status != 0 && is_stopped()) throw Stopped{};
    if (status == kAllocationFailed) {
        throw_out_of_memory("a batch of " + std::to_string(batch.n_tokens) + " tokens in ", guard);
    }
    if (status != 0) {
        throw ModelError("llama.cpp could not compute a batch of " + std::to_string(batch.n_tokens) +
                         " tokens (status " + std::to_string(status) + "): " + guard.errors());
    }
    capture_.finish(model_.info().architecture);
}

std::size_t Context::n_bytes(std::size_t n_ctx) const {
    double n_bytes = 0;
    const double share = static_cast<double>(n_ctx) / static_cast<double>(shape_.n_ctx);
    for (const auto& [type, data] : llama_get_memory_breakdown(context_.get())) {
        n_bytes += share * static_cast<double>(data.context) + static_cast<double>(data.compute);
    }
    return static_cast<std::size_t>(n_bytes);
}

std::size_t Context::n_weight_bytes() const {
    std::size_t n_bytes = 0;
    for (const auto& [type, data] : llama_get_memory_breakdown(context_.get())) n_bytes += data.model;
    return n_bytes;
}

void Context::use_threads(int n_threads) { llama_set_n_threads(context_.get(), n_threads, n_threads); }

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

std::vector<std::uint8_t> Context::first_sequence() {
    const NativeGuard guard;
    std::vector<std::uint8_t> state(llama_state_seq_get_size(context_.get(), 0));
    state.resize(llama_state_seq_get_data(context_.get(), state.data(), state.size(), 0));
    return state;
}

bool Context::take_first_sequence(const std::vector<std::uint8_t>& state) {
    const NativeGuard guard;
    return llama_state_seq_set_data(context_.get(), state.data(), state.size(), 0) > 0;
}

void Context::share_first_sequence() {
    llama_memory_t memory = llama_get_memory(context_.get());
    for (std::size_t s = 1; s < max_texts_; ++s) {
        llama_memory_seq_cp(memory, 0, static_cast<llama_seq_id>(s), -1, -1);
    }
}

}  // namespace fastplr
