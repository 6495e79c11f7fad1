#include "fastplr/embedder.hpp"

#include <algorithm>
#include <atomic>
#include <new>
#include <string>

#include "available_memory.hpp"
#include "embedding/batches.hpp"
#include "embedding/call_lock.hpp"
#include "embedding/checks.hpp"
#include "embedding/fork_guard.hpp"
#include "embedding/lane.hpp"
#include "embedding/shared_prefix.hpp"
#include "embedding/side_by_side.hpp"
#include "embedding/text.hpp"
#include "embedding/token_places.hpp"
#include "embedding/token_windows.hpp"
#include "embedding/tokenizer.hpp"
#include "model/native.hpp"

namespace fastplr {
namespace {

// Threads that work on one batch together wait for each other: they take so much of the time in which each
// would compute its share alone (benchmarks/tuning.py lanes).
constexpr std::size_t kPercentTogether = 103;

// What lanes beyond the first may take where the weights are smaller, in bytes.
constexpr std::size_t kRoomForLanes = std::size_t{64} << 20;

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

// Of texts, among those of a call.
using Positions = std::vector<std::size_t>;

// Texts of a call that are computed with the same rotary factors, and what is to be done with them.
struct Work {
    const EmbedRequest& request;
    const ForkWatch& fork_watch;
    std::vector<std::size_t> positions;             // of the texts among those of the call
    std::vector<std::vector<PoolingRange>> ranges;  // of each text, one a pooling
    std::vector<TokenSpan> rest;                    // of each text, what follows the shared tokens
    std::vector<PoolingRange> scored;               // of each text, where tokens are scored
    std::vector<Batch> batches;                     // empty ones are done
    LaneNeeds needs;
    float* out;
    std::function<void(const Positions&)> on_batch;
};

// Memory ran out in a lane: what is left may be tried with fewer of them.
struct LaneOutOfMemory {
    std::string message;
};

static LaneWork out_of_memory_in_lane(const LaneWork& work) {
    return [work](std::size_t lane, std::size_t job, const IsStopped& is_stopped) {
        try {
            work(lane, job, is_stopped);
        } catch (const ContextMemoryError& error) {
            throw LaneOutOfMemory{error.what()};
        } catch (const std::bad_alloc&) {
            throw LaneOutOfMemory{"memory for the tokens and sums of a batch could not be allocated"};
        }
    };
}

struct Embedder::Impl {
    std::shared_ptr<const Model> model;
    EmbedderOptions options;
    Tokenizer tokenizer;
    std::vector<std::unique_ptr<Lane>> lanes;
    CallLock turn;
    std::size_t n_forks = 0;  ///< between the process that made this and the one that we are in
    ForkGuard fork_guard;
    std::atomic<std::size_t> n_computed = 0;          ///< tokens, in this call
    std::size_t n_lanes_that_fit = SIZE_MAX;          ///< as far as this call knows
    const std::vector<std::string>* texts = nullptr;  ///< of this call

    Impl(std::shared_ptr<const Model> model_, const EmbedderOptions& options_)
        : model(std::move(model_)),
          options(checked(options_, *model)),
          tokenizer(model->native().llama.get()),
          fork_guard([this] {
              // Another thread of the parent may have had its turn and changed the lanes at that moment, and
              // threads that they wait for are gone.
              new (&turn) CallLock;
              new (&lanes) std::vector<std::unique_ptr<Lane>>;
              ++n_forks;
          }) {}

    Lane& lane(std::size_t index);
    /// Fills the rows of the window's texts, and leaves of their tokens those that were needed. `long_rope`:
    /// see Context::use_long_rope().
    void embed_window(TokenWindow& window, const EmbedRequest& request, bool long_rope, float* out,
                      const ForkWatch& fork_watch, const std::function<void(const Positions&)>& on_batch);
    /// Makes room for the scores of a text's tokens, and finds their places; returns those that are scored.
    PoolingRange prepare_scores(const TokenizedText& tokenized, const PoolingRange& pooled,
                                const EmbedRequest& request, std::size_t position);
    /// Makes the first lane ready, without the others if need be.
    void prepare_first_lane(const LaneNeeds& needs);
    /// Makes up to `n` lanes ready for texts of up to `longest` tokens of their own; returns how many are.
    std::size_t prepare_lanes(std::size_t n, LaneNeeds needs, std::size_t longest);
    /// Computes all batches.
    void run(Work& work);
    void run_on_lanes(Work& work);
    /// Computes `n` batches from the `first` on, on that many lanes.
    void run_batches(Work& work, std::size_t first, std::size_t n, std::size_t n_lanes);
    /// Has that many lanes hold the prefix, which is computed once, by all threads.
    void share_prefix(Work& work, std::size_t n_lanes);
    void run_batch(Work& work, const Batch& batch, Lane& lane, const IsStopped& is_stopped);
    /// Whether what texts begin with alike is computed once.
    bool shares() const { return options.share_prefix && !model->is_encoder() && !model->native().recurrent; }
};

static void stop_if_forked(const ForkWatch& fork_watch) {
    if (!fork_watch.forked()) return;
    throw ModelError(
        "the process was forked while it was embedding: a child cannot go on with the work "
        "of its parent, but it can embed anew");
}

// A lane never has more threads than an equal share of them when it and those before it are at work.
Lane& Embedder::Impl::lane(std::size_t index) {
    while (lanes.size() <= index) {
        const int n_threads = options.n_threads / static_cast<int>(lanes.size() + 1);
        lanes.push_back(std::make_unique<Lane>(*model, n_threads));
    }
    return *lanes[index];
}

void Embedder::Impl::prepare_first_lane(const LaneNeeds& needs) {
    try {
        lane(0).prepare(needs);
    } catch (const ContextMemoryError&) {
        if (lanes.size() == 1) throw;
        lanes.clear();  // the others are only kept for the next call
        lane(0).prepare(needs);
    }
}

std::size_t Embedder::Impl::prepare_lanes(std::size_t n, LaneNeeds needs, std::size_t longest) {
    needs.n_ctx = needs.prefix.size + std::max(longest, needs.n_batch);
    std::size_t n_most = static_cast<std::size_t>(options.max_lanes);
    if (n_most == 0) {
        const Context& first = lanes.front()->context();
        const auto available = static_cast<std::size_t>(available_memory().n_bytes / 2);
        const std::size_t room = std::min(std::max(first.n_weight_bytes(), kRoomForLanes), available);
        n_most = 1 + room / std::max<std::size_t>(first.n_bytes(needs.n_ctx), 1);
    }
    n = std::min({n, static_cast<std::size_t>(options.n_threads), n_lanes_that_fit, n_most});
    for (std::size_t i = 1; i < n; ++i) {
        try {
            lane(i).prepare(needs);
        } catch (const ContextMemoryError&) {
            lanes.resize(std::min(lanes.size(), i));
            n_lanes_that_fit = i;
        } catch (const std::bad_alloc&) {
            lanes.resize(std::min(lanes.size(), i));
            n_lanes_that_fit = i;
        }
        if (n_lanes_that_fit == i) return i;
    }
    return n;
}

void Embedder::Impl::run_batch(Work& work, const Batch& batch, Lane& lane, const IsStopped& is_stopped) {
    const std::vector<int>& layers = work.request.layers;
    const std::size_t n_poolings = work.request.poolings.size();
    const auto width = static_cast<std::size_t>(model->n_embd());
    const std::size_t stride = layers.size() * n_poolings * width;
    n_computed += lane.hold_prefix(work.needs, is_stopped);
    std::vector<PooledSums> sums(batch.size());
    std::vector<Sequence> sequences;
    for (std::size_t b = 0; b < batch.size(); ++b) {
        sums[b].ranges = work.ranges[batch[b].index];
        sums[b].sums.assign(stride, 0.0);
        if (!work.scored.empty()) {
            TokenScores& scores = (*work.request.token_scores)[work.positions[batch[b].index]];
            sums[b].tokens = {&work.request.directions, work.scored[batch[b].index], &scores.scores};
        }
        lane.prefix().add_to(sums[b], layers, width);
        sequences.push_back({work.rest[batch[b].index], batch[b].n_shared, &sums[b]});
    }
    n_computed += lane.run(sequences, is_stopped);
    for (std::size_t b = 0; b < batch.size(); ++b) {
        float* row = work.out + work.positions[batch[b].index] * stride;
        for (std::size_t k = 0; k < stride; ++k) {
            const PoolingRange& range = sums[b].ranges[k / width % n_poolings];
            row[k] = static_cast<float>(sums[b].sums[k] / static_cast<double>(range.end - range.begin));
        }
    }
}

void Embedder::Impl::run_batches(Work& work, std::size_t first, std::size_t n, std::size_t n_lanes) {
    const auto n_threads = static_cast<std::size_t>(options.n_threads);
    std::vector<Lane*> at_work;
    for (std::size_t i = 0; i < n_lanes; ++i) {
        at_work.push_back(lanes[i].get());
        at_work[i]->use_threads(static_cast<int>(n_threads / n_lanes + (i < n_threads % n_lanes ? 1 : 0)));
    }
    side_by_side(
        n_lanes, n,
        out_of_memory_in_lane([&](std::size_t lane_index, std::size_t job, const IsStopped& is_stopped) {
            run_batch(work, work.batches[first + job], *at_work[lane_index], is_stopped);
        }),
        [&](std::size_t job) {
            Batch& batch = work.batches[first + job];
            Positions finished;
            for (const BatchText& text : batch) finished.push_back(work.positions[text.index]);
            batch.clear();
            work.on_batch(finished);
        },
        work.request.on_step, work.fork_watch);
}

void Embedder::Impl::share_prefix(Work& work, std::size_t n_lanes) {
    Lane& first = *lanes.front();
    if (!first.holds_prefix(work.needs)) {
        first.use_threads(options.n_threads);
        side_by_side(
            1, 1, out_of_memory_in_lane([&](std::size_t, std::size_t, const IsStopped& is_stopped) {
                n_computed += first.hold_prefix(work.needs, is_stopped);
            }),
            [](std::size_t) {}, work.request.on_step, work.fork_watch);
    }
    for (std::size_t i = 1; i < n_lanes; ++i) {
        if (!lanes[i]->holds_prefix(work.needs)) lanes[i]->take_prefix(first);
    }
}

PoolingRange Embedder::Impl::prepare_scores(const TokenizedText& tokenized, const PoolingRange& pooled,
                                            const EmbedRequest& request, std::size_t position) {
    const PoolingRange range = {std::max(pooled.begin, tokenized.text_begin),
                                std::min(pooled.end, tokenized.text_end)};
    const std::size_t n = range.end - range.begin;
    TokenScores& scores = (*request.token_scores)[position];
    const auto places = token_places(tokenizer, (*texts)[position], request.prompt, tokenized);
    const auto first = places.begin() + static_cast<std::ptrdiff_t>(range.begin - tokenized.text_begin);
    scores.places.assign(first, first + static_cast<std::ptrdiff_t>(n));
    scores.scores.assign(n * (request.directions.size() / static_cast<std::size_t>(model->n_embd())), 0.0);
    scores.n_pooled = pooled.end - pooled.begin;
    return range;
}

void Embedder::Impl::embed_window(TokenWindow& window, const EmbedRequest& request, bool long_rope,
                                  float* out, const ForkWatch& fork_watch,
                                  const std::function<void(const Positions&)>& on_batch) {
    Work work{request, fork_watch, window.positions, {}, {}, {}, {}, {}, out, on_batch};
    std::size_t longest = 0;
    std::size_t first_end = SIZE_MAX;
    for (TokenizedText& text : window.texts) {
        std::vector<PoolingRange>& ranges = work.ranges.emplace_back();
        for (const Pooling pooling : request.poolings) {
            ranges.push_back(pooling_range(pooling, text, model->is_encoder()));
            first_end = std::min(first_end, ranges.back().end);
        }
        if (!model->is_encoder()) {
            // What follows the last pooled token, such as a suffix under Pooling::mean, no pooled token sees.
            std::size_t end = 0;
            for (const PoolingRange& range : ranges) end = std::max(end, range.end);
            text.tokens.resize(end);
        }
        longest = std::max(longest, text.tokens.size());
        if (!request.directions.empty()) {
            // Own tokens that are pooled. They are computed for every text: of what a lane holds for all
            // texts there are only sums.
            work.scored.push_back(
                prepare_scores(text, ranges.front(), request, work.positions[work.scored.size()]));
            first_end = std::min(first_end, text.text_begin);
        }
    }
    const auto n_batch = static_cast<std::size_t>(options.n_batch);
    std::size_t n_shared = 0;
    if (shares() && !long_rope) {
        n_shared = shared_length(window.texts, tokenizer.prompt_alone(request.prompt), first_end, n_batch);
    }
    for (const TokenizedText& text : window.texts) {
        work.rest.push_back({text.tokens.data() + n_shared, text.tokens.size() - n_shared});
    }
    work.needs.layers = request.layers;
    work.needs.n_ctx = n_shared + std::max(longest - n_shared, n_batch);
    work.needs.n_batch = n_batch;
    work.needs.long_rope = long_rope;
    work.needs.prefix = {window.texts.front().tokens.data(), n_shared};
    work.needs.begins = shared_begins(work.ranges, n_shared);
    prepare_first_lane(work.needs);
    work.batches = make_batches(work.rest, n_batch, lane(0).context().max_texts(), shares());
    run(work);
}

void Embedder::Impl::run(Work& work) {
    std::stable_sort(work.batches.begin(), work.batches.end(), [&](const Batch& a, const Batch& b) {
        return n_tokens(a, work.rest) > n_tokens(b, work.rest);
    });
    try {
        run_on_lanes(work);
    } catch (const LaneOutOfMemory& error) {
        if (lanes.size() == 1) throw ContextMemoryError(error.message);
        // What is done was told. The rest goes on with as little memory as can be.
        lanes.clear();
        n_lanes_that_fit = 1;
        lane(0).prepare(work.needs);
        try {
            run_on_lanes(work);
        } catch (const LaneOutOfMemory& again) {
            throw ContextMemoryError(again.message);
        }
    }
}

void Embedder::Impl::run_on_lanes(Work& work) {
    std::vector<Batch>& batches = work.batches;
    batches.erase(std::remove_if(batches.begin(), batches.end(), [](const Batch& b) { return b.empty(); }),
                  batches.end());
    const std::size_t most = model->uses_accelerator() ? 1 : static_cast<std::size_t>(options.n_threads);
    std::size_t n_tokens_left = 0;
    for (const Batch& batch : batches) n_tokens_left += n_tokens(batch, work.rest);
    for (std::size_t first = 0; first < batches.size();) {
        const std::size_t n_left = batches.size() - first;
        const std::size_t n_first = n_tokens(batches[first], work.rest);
        const auto leaves_others_idle = [&](std::size_t n_lanes) {
            return n_first * n_lanes * 100 > n_tokens_left * kPercentTogether;
        };
        std::size_t n_lanes = std::min(n_left, most);
        if (n_lanes > 1 && !leaves_others_idle(n_lanes)) {
            n_lanes = std::min(n_left, prepare_lanes(n_lanes, work.needs, n_first));
        }
        if (leaves_others_idle(n_lanes)) n_lanes = 1;
        // Lanes that have no batch of the last round give their threads to those that have.
        const std::size_t n = n_lanes == 1 ? 1 : n_left - n_left % n_lanes;
        for (std::size_t i = first; i < first + n; ++i) n_tokens_left -= n_tokens(batches[i], work.rest);
        if (n_lanes > 1) share_prefix(work, n_lanes);
        run_batches(work, first, n, n_lanes);
        first += n;
    }
}

Embedder::Embedder(std::shared_ptr<const Model> model, const EmbedderOptions& options)
    : impl_(std::make_unique<Impl>(std::move(model), options)) {}
Embedder::~Embedder() = default;

const Model& Embedder::model() const { return *impl_->model; }
std::shared_ptr<const Model> Embedder::shared_model() const { return impl_->model; }
int Embedder::n_ctx() const { return impl_->options.n_ctx; }
int Embedder::n_threads() const { return impl_->options.n_threads; }
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
    if (!caller_request.indices.empty() && caller_request.indices.size() != texts.size()) {
        throw InputError(std::to_string(caller_request.indices.size()) + " indices for " +
                         std::to_string(texts.size()) + " texts");
    }
    if (!caller_request.continuations.empty() && caller_request.continuations.size() != texts.size()) {
        throw InputError(std::to_string(caller_request.continuations.size()) + " continuations for " +
                         std::to_string(texts.size()) + " texts");
    }
    for (const std::vector<int>& further : caller_request.continuations) {
        const int n_vocab = llama_vocab_n_tokens(llama_model_get_vocab(impl.model->native().llama.get()));
        for (const int token : further) {
            if (token >= 0 && token < n_vocab) continue;
            throw InputError("a continuation has the token " + std::to_string(token) + ": expected 0 to " +
                             std::to_string(n_vocab - 1));
        }
    }
    const CallTurn turn(impl.turn, caller_request.on_step);
    if (impl.n_forks > 0 && impl.model->uses_accelerator()) {
        throw ModelError(
            "a model on an accelerator cannot be used in a forked process: "
            "start worker processes with 'spawn' or 'forkserver'");
    }
    const ForkWatch fork_watch(impl.n_forks);
    EmbedRequest request = caller_request;
    if (caller_request.on_step) {
        request.on_step = [&] {
            caller_request.on_step();
            stop_if_forked(fork_watch);  // a signal handler may fork
        };
    }
    EmbedResult result;
    std::size_t n_done = 0;
    impl.n_computed = 0;
    impl.texts = &texts;
    if (request.token_scores != nullptr) request.token_scores->assign(texts.size(), {});
    impl.n_lanes_that_fit = SIZE_MAX;
    TokenWindows windows(impl.tokenizer, static_cast<std::size_t>(impl.options.n_ctx), impl.options.n_threads,
                         texts, request, fork_watch);
    TokenWindow window;
    while (windows.next(window)) {
        const auto is_cut = [&](std::size_t i) {
            return std::binary_search(window.truncated.begin(), window.truncated.end(), i);
        };
        const auto on_batch = [&](const Positions& finished) {
            stop_if_forked(fork_watch);  // what a child found of this batch is not to be relied on
            if (request.on_batch) {
                Positions cut;
                std::copy_if(finished.begin(), finished.end(), std::back_inserter(cut), is_cut);
                request.on_batch(finished, cut);
            }
            n_done += finished.size();
            if (request.on_progress) request.on_progress(n_done, texts.size());
            stop_if_forked(fork_watch);
        };
        for (const TokenizedText& text : window.texts) result.n_tokens += text.tokens.size();
        TokenWindow longer = take_longer_than(impl.model->native().n_ctx_short_rope, window);
        try {
            if (!window.texts.empty()) impl.embed_window(window, request, false, out, fork_watch, on_batch);
            if (!longer.texts.empty()) impl.embed_window(longer, request, true, out, fork_watch, on_batch);
        } catch (...) {
            // Whatever state llama.cpp was left in, nobody meets it again.
            if (!fork_watch.forked()) impl.lanes.clear();
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
