#include "embedding/checks.hpp"

#include <algorithm>
#include <string>

#include "embedding/text.hpp"
#include "fastplr/available_cores.hpp"
#include "model/native.hpp"

namespace fastplr {
namespace {

constexpr int kMaxBatch = 8192;
constexpr int kMaxThreads = 512;  // GGML_MAX_N_THREADS
// Where attention is computed for every pair of tokens of a batch; docs/tuning.md has the measurement.
constexpr int kMaxBatchOfPairs = 128;

std::string in_range(const char* name, long long value, long long low, long long high) {
    return std::string(name) + " is " + std::to_string(value) + ": expected " + std::to_string(low) + " to " +
           std::to_string(high);
}

}  // namespace

EmbedderOptions checked(EmbedderOptions options, const Model& model) {
    const int limit = model.n_ctx_train();
    if (options.n_ctx < 0 || options.n_ctx > limit)
        throw InputError(in_range("n_ctx", options.n_ctx, 0, limit));
    if (options.n_batch < 1 || options.n_batch > kMaxBatch) {
        throw InputError(in_range("n_batch", options.n_batch, 1, kMaxBatch));
    }
    if (options.n_threads < 0 || options.n_threads > kMaxThreads) {
        throw InputError(in_range("n_threads", options.n_threads, 0, kMaxThreads));
    }
    if (options.max_lanes < 0) {
        throw InputError("max_lanes is " + std::to_string(options.max_lanes) + ": expected 0 or more");
    }
    if (model.native().pair_bias) options.n_batch = std::min(options.n_batch, kMaxBatchOfPairs);
    if (options.n_ctx == 0) options.n_ctx = limit;
    if (options.n_threads == 0) {
        options.n_threads = std::min(available_cores(), kMaxThreads);
    }
    return options;
}

void check_request(const EmbedRequest& request, const Model& model) {
    if (request.layers.empty()) throw InputError("no layer is asked for: expected at least one");
    if (request.poolings.empty()) throw InputError("no pooling is asked for: expected at least one");
    for (const int layer : request.layers) {
        if (layer < kOutputNormLayer || layer > model.n_layers()) {
            throw InputError("layer is " + std::to_string(layer) + ": expected 0 to " +
                             std::to_string(model.n_layers()) +
                             ", or -1 for the state after the output norm");
        }
        const bool loaded =
            model.max_layer() == kAllLayers || (layer != kOutputNormLayer && layer <= model.max_layer());
        if (!loaded) {
            throw InputError("layer is " + std::to_string(layer) + ": expected at most " +
                             std::to_string(model.max_layer()) +
                             ", since the model was loaded without the layers above");
        }
    }
    if (!request.directions.empty()) {
        const auto width = static_cast<std::size_t>(model.n_embd());
        if (request.directions.size() % width != 0) {
            throw InputError("directions hold " + std::to_string(request.directions.size()) +
                             " values: expected " + std::to_string(width) + " for each");
        }
        if (request.layers.size() != 1 || request.poolings.size() != 1 || request.token_scores == nullptr)
            throw InputError("directions need one layer, one pooling and a place for the scores of tokens");
        if (request.poolings.front() == Pooling::last)
            throw InputError("pooling is 'last': expected 'mean' or 'mean_all' to score tokens");
    }
    check_utf8(request.prompt.prefix, "the prompt's prefix");
    check_utf8(request.prompt.suffix, "the prompt's suffix");
    for (const std::string& part : {request.prompt.prefix, request.prompt.suffix}) {
        if (end_of_longest_allowed_run(part) < part.size()) {
            throw InputError("the prompt has more than " + std::to_string(kLongestRun) +
                             " characters of one kind in a row: expected text");
        }
    }
}

Pooling pooling_from_string(const std::string& word) {
    if (word == "mean") return Pooling::mean;
    if (word == "mean_all") return Pooling::mean_all;
    if (word == "last") return Pooling::last;
    throw InputError("pooling is '" + word + "': expected 'mean', 'mean_all' or 'last'");
}

const char* to_string(Pooling pooling) {
    switch (pooling) {
        case Pooling::mean_all:
            return "mean_all";
        case Pooling::last:
            return "last";
        case Pooling::mean:
            break;
    }
    return "mean";
}

void check_texts(const std::vector<std::string>& texts) {
    for (std::size_t i = 0; i < texts.size(); ++i) check_text(texts[i], i);
}

}  // namespace fastplr
