#include "embedding/lane.hpp"

#include <algorithm>
#include <utility>

#include "model/native.hpp"

namespace fastplr {
namespace {

constexpr std::size_t kContextStep = 256;  // llama.cpp rounds up to as much
// How many texts an encoder takes in a batch must not depend on how far its context has grown.
static_assert(kContextStep >= kMaxTextsPerBatch);

// Shortens a path of segments to its first `n_tokens` tokens.
void keep_first(std::vector<Segment>& path, std::size_t n_tokens) {
    for (std::size_t i = 0; i < path.size(); ++i) {
        path[i].n_rows = std::min(path[i].n_rows, n_tokens);
        n_tokens -= path[i].n_rows;
    }
    while (!path.empty() && path.back().n_rows == 0) path.pop_back();
}

}  // namespace

Lane::Lane(const Model& model, int max_threads)
    : model_(model),
      max_threads_(max_threads),
      capture_(llama_model_n_layer(model.native().llama.get()), model.n_embd(),
               model.native().ends_with_block) {}

void Lane::drop_context() {
    context_.reset();
    prefix_ = {};
}

void Lane::prepare(const LaneNeeds& needs) {
    capture_.want(needs.layers);
    ContextShape shape;
    // In steps, so that not every longer text makes a new one.
    shape.n_ctx = (needs.n_ctx + kContextStep - 1) / kContextStep * kContextStep;
    // Without a causal mask every token sees every other: a text cannot be computed in pieces.
    shape.n_batch = model_.is_encoder() ? shape.n_ctx : needs.n_batch;
    shape.depth = capture_.depth();
    if (!context_ || !context_->shape().holds(shape)) {
        if (context_) {  // grow only: what it could hold before, it still must
            shape.n_ctx = std::max(shape.n_ctx, context_->shape().n_ctx);
            shape.n_batch = std::max(shape.n_batch, context_->shape().n_batch);
            shape.depth = std::max(shape.depth, context_->shape().depth);
            drop_context();
        }
        context_ = std::make_unique<Context>(model_, shape, max_threads_, capture_);
    }
    context_->use_long_rope(needs.long_rope);
}

void Lane::use_threads(int n_threads) { context_->use_threads(n_threads); }

bool Lane::holds_prefix(const LaneNeeds& needs) const {
    const TokenSpan& tokens = needs.prefix;
    const bool same =
        std::equal(prefix_.tokens.begin(), prefix_.tokens.end(), tokens.tokens, tokens.tokens + tokens.size);
    return same && (tokens.size == 0 || prefix_.serves(capture_.depth(), needs.layers, needs.begins));
}

std::size_t Lane::hold_prefix(const LaneNeeds& needs, const IsStopped& is_stopped) {
    if (holds_prefix(needs)) return 0;
    prefix_ = {};
    context_->forget();
    const TokenSpan& tokens = needs.prefix;
    if (tokens.size == 0) return 0;
    SharedPrefix fresh;
    fresh.tokens.assign(tokens.tokens, tokens.tokens + tokens.size);
    fresh.depth = capture_.depth();
    fresh.layers = needs.layers;
    for (const std::size_t begin : needs.begins) fresh.sums.ranges.push_back({begin, tokens.size});
    fresh.sums.sums.assign(
        needs.layers.size() * needs.begins.size() * static_cast<std::size_t>(model_.n_embd()), 0.0);
    const std::size_t n_computed = run_pieces(tokens, fresh.sums, 0, is_stopped);
    context_->share_first_sequence();
    prefix_ = std::move(fresh);
    return n_computed;
}

void Lane::take_prefix(Lane& other) {
    prefix_ = {};
    context_->forget();
    if (!context_->take_first_sequence(other.context_->first_sequence())) {
        context_->forget();  // it is then computed, as if there were no other lane
        return;
    }
    context_->share_first_sequence();
    prefix_ = other.prefix_;
}

std::size_t Lane::run(const std::vector<Sequence>& texts, const IsStopped& is_stopped) {
    const std::size_t first_token = prefix_.tokens.size();
    const std::size_t n_computed =
        texts.size() == 1 ? run_pieces(texts.front().tokens, *texts.front().sums, first_token, is_stopped)
                          : run_batch(texts, first_token, is_stopped);
    context_->forget(first_token);
    return n_computed;
}

std::size_t Lane::run_pieces(const TokenSpan& tokens, PooledSums& sums, std::size_t first_token,
                             const IsStopped& is_stopped) {
    const std::size_t n_batch = context_->shape().n_batch;
    std::size_t done = 0;
    while (done < tokens.size) {
        const TokenSpan piece = {tokens.tokens + done, std::min(tokens.size - done, n_batch)};
        done += run_batch({{piece, 0, &sums}}, first_token + done, is_stopped);
    }
    return done;
}

std::size_t Lane::run_batch(const std::vector<Sequence>& batch, std::size_t first_token,
                            const IsStopped& is_stopped) {
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
    capture_.begin(std::move(segments), std::move(targets), rows);
    context_->decode(pieces, first_token, is_stopped);
    return rows;
}

}  // namespace fastplr
