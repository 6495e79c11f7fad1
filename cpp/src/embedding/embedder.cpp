#include "fastplr/embedder.hpp"

#include <algorithm>
#include <mutex>
#include <new>

#include "embedding/batches.hpp"
#include "embedding/checks.hpp"
#include "embedding/context.hpp"
#include "embedding/fork_guard.hpp"
#include "embedding/layer_capture.hpp"
#include "embedding/shared_prefix.hpp"
#include "embedding/text.hpp"
#include "embedding/token_windows.hpp"
#include "embedding/tokenizer.hpp"
#include "model/native.hpp"

namespace fastplr {
namespace {

constexpr std::size_t kContextStep = 256;  // llama.cpp rounds up to as much

PoolingRange pooling_range(Pooling pooling, const TokenizedText& text, bool encoder) {
    const std::size_t n = text.tokens.size();
    switch (pooling) {
        case Pooling::mean_all:
            return {0, n};
        case Pooling::last:
            return {n - 1, n};
        case Pooling::mean:
            break;
    }
    if (encoder) return {0, n};  // every token sees the whole string
    std::size_t begin = text.text_begin;
    if (begin == 0 && text.text_end > 1) begin = 1;  // position 0 of a causal model is an attention sink
    return {begin, text.text_end};
}

}  // namespace

// Tokens that continue what the context holds, and where their states are added up.
struct Sequence {
    TokenSpan tokens;
    std::size_t n_shared;  // of them, how many are the tokens of the sequence before, and computed there
    PooledSums* sums;
};

// Of texts, among those of a call.
using Positions = std::vector<std::size_t>;

// Shortens a path of segments to its first `n_tokens` tokens.
static void keep_first(std::vector<Segment>& path, std::size_t n_tokens) {
    for (std::size_t i = 0; i < path.size(); ++i) {
        path[i].n_rows = std::min(path[i].n_rows, n_tokens);
        n_tokens -= path[i].n_rows;
    }
    while (!path.empty() && path.back().n_rows == 0) path.pop_back();
}

struct Embedder::Impl {
    std::shared_ptr<const Model> model;
    EmbedderOptions options;
    Tokenizer tokenizer;
    LayerCapture capture;
    std::unique_ptr<Context> context;
    SharedPrefix prefix;  ///< what the context holds; without tokens where it holds nothing
    std::mutex mutex;
    bool forked = false;
    ForkGuard fork_guard;

    Impl(std::shared_ptr<const Model> model_, const EmbedderOptions& options_)
        : model(std::move(model_)),
          options(checked(options_, *model)),
          tokenizer(model->native().llama.get()),
          capture(llama_model_n_layer(model->native().llama.get()), model->n_embd(),
                  model->native().ends_with_block),
          fork_guard([this] {
              // Another thread of the parent may have held the lock and changed the capture at that moment.
              new (&mutex) std::mutex;
              new (&capture) LayerCapture(llama_model_n_layer(model->native().llama.get()), model->n_embd(),
                                          model->native().ends_with_block);
              forked = true;
          }) {}

    ~Impl() {
        if (context && forked) context->abandon();
    }

    /// A context in which `n_shared` tokens and texts of up to `longest` tokens find room.
    void prepare_context(std::size_t n_shared, std::size_t longest);
    void drop_context();
    /// What a child has of its parent's context cannot be used.
    void start_anew_if_forked();
    /// How many tokens of these texts are taken from the prefix that the context then holds.
    std::size_t prepare_prefix(const std::vector<TokenizedText>& texts, const EmbedRequest& request,
                               const std::vector<std::vector<PoolingRange>>& ranges, bool long_rope);
    /// One text alone, in pieces that continue one another in the cache where it is longer than a batch.
    void run_text(const TokenSpan& tokens, PooledSums& sums, std::size_t first_token,
                  const std::function<void()>& on_step);
    void run_batch(const std::vector<Sequence>& batch, std::size_t first_token,
                   const std::function<void()>& on_step);
    /// Fills the rows of the window's texts, and leaves of their tokens those that were needed. `long_rope`:
    /// see Context::use_long_rope().
    void embed_window(TokenWindow& window, const EmbedRequest& request, bool long_rope, float* out,
                      const std::function<void(const Positions&)>& on_batch);
    /// Whether what texts begin with alike is computed once.
    bool shares() const { return options.share_prefix && !model->is_encoder() && !model->native().recurrent; }
    void stop_if_forked() const;
    std::size_t n_computed = 0;  ///< tokens, in this call
};

void Embedder::Impl::stop_if_forked() const {
    if (!forked) return;
    throw ModelError(
        "the process was forked while it was embedding: a child cannot go on with the work "
        "of its parent, but it can embed anew");
}

void Embedder::Impl::drop_context() {
    context.reset();
    prefix = {};
}

void Embedder::Impl::start_anew_if_forked() {
    if (!forked) return;
    if (model->uses_accelerator()) {
        throw ModelError(
            "a model on an accelerator cannot be used in a forked process: "
            "start worker processes with 'spawn' or 'forkserver'");
    }
    if (context) context->abandon();
    drop_context();
    forked = false;
}

void Embedder::Impl::prepare_context(std::size_t n_shared, std::size_t longest) {
    const auto n_batch = static_cast<std::size_t>(options.n_batch);
    ContextShape shape;
    // In steps, so that not every longer text makes a new one.
    shape.n_ctx = (n_shared + std::max(longest, n_batch) + kContextStep - 1) / kContextStep * kContextStep;
    shape.n_batch = n_batch;
    shape.depth = capture.depth();
    if (model->is_encoder()) {
        // Without a causal mask every token sees every other: a text cannot be computed in pieces.
        shape.n_batch = shape.n_ctx;
    }
    if (context && context->shape().holds(shape)) return;
    if (context) {  // grow only: what it could hold before, it still must
        shape.n_ctx = std::max(shape.n_ctx, context->shape().n_ctx);
        shape.n_batch = std::max(shape.n_batch, context->shape().n_batch);
        shape.depth = std::max(shape.depth, context->shape().depth);
        drop_context();
    }
    context = std::make_unique<Context>(*model, shape, options.n_threads, capture);
}

std::size_t Embedder::Impl::prepare_prefix(const std::vector<TokenizedText>& texts,
                                           const EmbedRequest& request,
                                           const std::vector<std::vector<PoolingRange>>& ranges,
                                           bool long_rope) {
    std::size_t longest = 0;
    std::size_t limit = SIZE_MAX;
    for (const TokenizedText& text : texts) longest = std::max(longest, text.tokens.size());
    for (const auto& of_text : ranges) {
        for (const PoolingRange& range : of_text) limit = std::min(limit, range.end);
    }
    std::size_t n_shared = 0;
    if (shares() && !long_rope) {
        n_shared = shared_length(texts, tokenizer.prompt_alone(request.prompt), limit,
                                 static_cast<std::size_t>(options.n_batch));
    }
    prepare_context(n_shared, longest - n_shared);
    context->use_long_rope(long_rope);
    if (n_shared == 0) {
        context->forget();
        prefix = {};
        return 0;
    }
    const auto& tokens = texts.front().tokens;
    const std::vector<std::size_t> begins = shared_begins(ranges, n_shared);
    const bool same = prefix.tokens.size() == n_shared &&
                      std::equal(prefix.tokens.begin(), prefix.tokens.end(), tokens.begin());
    if (same && prefix.serves(capture.depth(), request.layers, begins)) {
        context->forget(n_shared);
        return n_shared;
    }
    SharedPrefix fresh;
    fresh.tokens.assign(tokens.begin(), tokens.begin() + static_cast<std::ptrdiff_t>(n_shared));
    fresh.depth = capture.depth();
    fresh.layers = request.layers;
    for (const std::size_t begin : begins) fresh.sums.ranges.push_back({begin, n_shared});
    fresh.sums.sums.assign(request.layers.size() * begins.size() * static_cast<std::size_t>(model->n_embd()),
                           0.0);
    prefix = {};
    context->forget();
    run_text({tokens.data(), n_shared}, fresh.sums, 0, request.on_step);
    context->share_first_sequence();
    prefix = std::move(fresh);
    return n_shared;
}

void Embedder::Impl::run_text(const TokenSpan& tokens, PooledSums& sums, std::size_t first_token,
                              const std::function<void()>& on_step) {
    const std::size_t n_batch = context->shape().n_batch;
    for (std::size_t done = 0; done < tokens.size; done += n_batch) {
        const TokenSpan piece = {tokens.tokens + done, std::min(tokens.size - done, n_batch)};
        run_batch({{piece, 0, &sums}}, first_token + done, on_step);
    }
}

void Embedder::Impl::run_batch(const std::vector<Sequence>& batch, std::size_t first_token,
                               const std::function<void()>& on_step) {
    if (on_step) on_step();
    std::vector<Piece> pieces;
    std::vector<Segment> segments;
    std::vector<PooledSums*> targets;
    std::vector<Segment> path;  // where the rows of a sequence are, in the order of its tokens
    std::size_t rows = 0;
    for (const Sequence& sequence : batch) {
        const std::size_t n_own = sequence.tokens.size - sequence.n_shared;
        keep_first(path, sequence.n_shared);
        path.push_back({rows, n_own, first_token + sequence.n_shared});
        segments.insert(segments.end(), path.begin(), path.end());
        targets.insert(targets.end(), path.size(), sequence.sums);
        pieces.push_back({sequence.tokens, sequence.n_shared});
        rows += n_own;
    }
    capture.begin(std::move(segments), std::move(targets), rows);
    context->decode(pieces, first_token);
    n_computed += rows;
}

void Embedder::Impl::embed_window(TokenWindow& window, const EmbedRequest& request, bool long_rope,
                                  float* out, const std::function<void(const Positions&)>& on_batch) {
    std::vector<std::vector<PoolingRange>> ranges(window.texts.size());
    for (std::size_t i = 0; i < window.texts.size(); ++i) {
        for (const Pooling pooling : request.poolings) {
            ranges[i].push_back(pooling_range(pooling, window.texts[i], model->is_encoder()));
        }
        if (model->is_encoder()) continue;
        // What follows the last pooled token, such as a suffix under Pooling::mean, no pooled token sees.
        std::size_t end = 0;
        for (const PoolingRange& range : ranges[i]) end = std::max(end, range.end);
        window.texts[i].tokens.resize(end);
    }
    const std::size_t n_poolings = request.poolings.size();
    const auto width = static_cast<std::size_t>(model->n_embd());
    const std::size_t stride = request.layers.size() * n_poolings * width;

    capture.want(request.layers);
    const std::size_t n_shared = prepare_prefix(window.texts, request, ranges, long_rope);
    std::vector<TokenSpan> rest;
    for (const TokenizedText& text : window.texts) {
        rest.push_back({text.tokens.data() + n_shared, text.tokens.size() - n_shared});
    }
    for (const Batch& batch :
         make_batches(rest, static_cast<std::size_t>(options.n_batch), context->max_texts(), shares())) {
        std::vector<PooledSums> sums(batch.size());
        std::vector<Sequence> sequences;
        for (std::size_t b = 0; b < batch.size(); ++b) {
            sums[b].ranges = ranges[batch[b].index];
            sums[b].sums.assign(stride, 0.0);
            if (n_shared > 0) prefix.add_to(sums[b], request.layers, width);
            sequences.push_back({rest[batch[b].index], batch[b].n_shared, &sums[b]});
        }
        if (batch.size() == 1) {
            run_text(sequences.front().tokens, sums.front(), n_shared, request.on_step);
        } else {
            run_batch(sequences, n_shared, request.on_step);
        }
        context->forget(n_shared);
        Positions finished;
        for (std::size_t b = 0; b < batch.size(); ++b) {
            finished.push_back(window.positions[batch[b].index]);
            float* row = out + finished[b] * stride;
            for (std::size_t k = 0; k < stride; ++k) {
                const PoolingRange& range = sums[b].ranges[k / width % n_poolings];
                row[k] = static_cast<float>(sums[b].sums[k] / static_cast<double>(range.end - range.begin));
            }
        }
        on_batch(finished);
    }
}

Embedder::Embedder(std::shared_ptr<const Model> model, const EmbedderOptions& options)
    : impl_(std::make_unique<Impl>(std::move(model), options)) {}
Embedder::~Embedder() = default;

const Model& Embedder::model() const { return *impl_->model; }
std::shared_ptr<const Model> Embedder::shared_model() const { return impl_->model; }
bool Embedder::shares_prefix() const { return impl_->shares(); }

std::size_t Embedder::count_tokens(const std::string& text, const Prompt& prompt) const {
    check_text(text, 0);
    (void)bytes_to_tokenize(impl_->tokenizer, text, static_cast<std::size_t>(impl_->options.n_ctx),
                            OnLong::error, "texts[0]");
    return impl_->tokenizer.tokenize(text, prompt).tokens.size();
}

EmbedResult Embedder::embed(const std::vector<std::string>& texts, const EmbedRequest& caller_request,
                            float* out) try {
    Impl& impl = *impl_;
    check_request(caller_request, *impl.model);
    EmbedRequest request = caller_request;
    if (caller_request.on_step) {
        request.on_step = [&] {
            caller_request.on_step();
            impl.stop_if_forked();  // a signal handler may fork
        };
    }
    if (!request.indices.empty() && request.indices.size() != texts.size()) {
        throw InputError(std::to_string(request.indices.size()) + " indices for " +
                         std::to_string(texts.size()) + " texts");
    }
    const std::lock_guard lock(impl.mutex);
    impl.start_anew_if_forked();
    EmbedResult result;
    std::size_t n_done = 0;
    impl.n_computed = 0;
    TokenWindows windows(impl.tokenizer, static_cast<std::size_t>(impl.options.n_ctx), texts, request,
                         impl.forked);
    TokenWindow window;
    while (windows.next(window)) {
        const auto is_cut = [&](std::size_t i) {
            return std::binary_search(window.truncated.begin(), window.truncated.end(), i);
        };
        const auto on_batch = [&](const Positions& finished) {
            impl.stop_if_forked();  // what a child found of this batch is not to be relied on
            if (request.on_batch) {
                Positions cut;
                std::copy_if(finished.begin(), finished.end(), std::back_inserter(cut), is_cut);
                request.on_batch(finished, cut);
            }
            n_done += finished.size();
            if (request.on_progress) request.on_progress(n_done, texts.size());
            impl.stop_if_forked();
        };
        for (const TokenizedText& text : window.texts) result.n_tokens += text.tokens.size();
        TokenWindow longer = take_longer_than(impl.model->native().n_ctx_short_rope, window);
        try {
            if (!window.texts.empty()) impl.embed_window(window, request, false, out, on_batch);
            if (!longer.texts.empty()) impl.embed_window(longer, request, true, out, on_batch);
        } catch (...) {
            // Whatever state llama.cpp was left in, nobody meets it again.
            if (!impl.forked) impl.drop_context();
            throw;
        }
        result.truncated.insert(result.truncated.end(), window.truncated.begin(), window.truncated.end());
    }
    result.n_computed = impl.n_computed;
    return result;
} catch (const std::bad_alloc&) {
    throw ContextMemoryError("memory for the tokens and sums of some of " + std::to_string(texts.size()) +
                             " texts could not be allocated");
}

}  // namespace fastplr
