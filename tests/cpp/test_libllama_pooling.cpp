// Layer -1 with pooling mean_all against libllama's own mean pooling, reached through llama.h alone.
//
// The model files come from the environment, set by tests/python/test_cpp_core.py: FASTPLR_TEST_MODEL (a
// decoder), and with other vocabularies and architectures FASTPLR_TEST_MODEL_BOS, _SPM, _GPT2, _GEMMA3,
// _BERT.
#include <cmath>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "check.hpp"
#include "fastplr/embedder.hpp"
#include "llama.h"

namespace {

const std::vector<std::string> kTexts{
    "The film is good.",
    "a",
    "The company said that the operating profit rose to EUR 13.1 mn, and the acting is slow and boring.",
    "caf\xC3\xA9 \xE6\x97\xA5\xE6\x9C\xAC \xF0\x9F\x98\x80",
};

/// libllama's embedding of one text.
class PooledByLibllama {
  public:
    explicit PooledByLibllama(const char* path) {
        llama_log_set([](ggml_log_level, const char*, void*) {}, nullptr);
        model_.reset(llama_model_load_from_file(path, llama_model_default_params()));
        llama_context_params params = llama_context_default_params();
        params.n_ctx = params.n_batch = params.n_ubatch = 256;
        params.embeddings = true;
        params.pooling_type = LLAMA_POOLING_TYPE_MEAN;
        params.n_threads = params.n_threads_batch = 1;
        if (model_) context_.reset(llama_init_from_model(model_.get(), params));
    }

    bool ready() const { return context_ != nullptr; }

    std::vector<float> operator()(const std::string& text) {
        std::vector<llama_token> tokens(text.size() + 8);
        const int n =
            llama_tokenize(llama_model_get_vocab(model_.get()), text.data(), static_cast<int>(text.size()),
                           tokens.data(), static_cast<int>(tokens.size()), true, false);
        if (llama_memory_t memory = llama_get_memory(context_.get())) llama_memory_clear(memory, true);
        if (n <= 0 || llama_decode(context_.get(), llama_batch_get_one(tokens.data(), n)) != 0) return {};
        const float* pooled = llama_get_embeddings_seq(context_.get(), 0);
        if (pooled == nullptr) return {};
        return {pooled, pooled + llama_model_n_embd(model_.get())};
    }

  private:
    struct ModelDeleter {
        void operator()(llama_model* model) const { llama_model_free(model); }
    };
    struct ContextDeleter {
        void operator()(llama_context* context) const { llama_free(context); }
    };
    std::unique_ptr<llama_model, ModelDeleter> model_;
    std::unique_ptr<llama_context, ContextDeleter> context_;
};

double largest_difference(const float* a, const std::vector<float>& b) {
    double largest = 0;
    for (std::size_t i = 0; i < b.size(); ++i)
        largest = std::max(largest, std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i])));
    return largest;
}

void check_agreement(const char* variable) {
    const char* path = std::getenv(variable);
    if (path == nullptr) {
        std::cout << "skipped: " << variable << " names no model (tests/python/test_cpp_core.py sets it)\n";
        return;
    }
    PooledByLibllama by_libllama(path);
    CHECK(by_libllama.ready());
    if (!by_libllama.ready()) return;

    fastplr::ModelOptions of_ggml;
    of_ggml.kernels = false;  // libllama computes with ggml
    const auto model = fastplr::Model::load(path, of_ggml);
    fastplr::EmbedderOptions options;
    options.n_threads = 1;
    fastplr::Embedder embedder(model, options);
    fastplr::EmbedRequest request;
    request.layers = {fastplr::kOutputNormLayer};
    request.poolings = {fastplr::Pooling::mean_all};
    const auto width = static_cast<std::size_t>(model->n_embd());
    std::vector<float> together(kTexts.size() * width);
    embedder.embed(kTexts, request, together.data());
    std::vector<float> alone(width);
    for (std::size_t t = 0; t < kTexts.size(); ++t) {
        const std::vector<float> expected = by_libllama(kTexts[t]);
        CHECK(expected.size() == width);
        embedder.embed({kTexts[t]}, request, alone.data());
        // The same numbers are averaged, here in float64 and there in float32.
        CHECK_NEAR(largest_difference(alone.data(), expected), 0.0, 1e-5);
        // In a batch with others, attention in F16 moves the last bits.
        CHECK_NEAR(largest_difference(together.data() + t * width, expected), 0.0, 5e-3);
        CHECK(largest_difference(alone.data(), std::vector<float>(width, 0.0f)) > 0.1);
    }
}

}  // namespace

TEST_CASE("a decoder without BOS") { check_agreement("FASTPLR_TEST_MODEL"); }
TEST_CASE("a decoder with BOS") { check_agreement("FASTPLR_TEST_MODEL_BOS"); }
TEST_CASE("a decoder with a SentencePiece vocabulary") { check_agreement("FASTPLR_TEST_MODEL_SPM"); }
TEST_CASE("gpt2") { check_agreement("FASTPLR_TEST_MODEL_GPT2"); }
TEST_CASE("gemma3, with a sliding window") { check_agreement("FASTPLR_TEST_MODEL_GEMMA3"); }
TEST_CASE("an encoder") { check_agreement("FASTPLR_TEST_MODEL_BERT"); }
