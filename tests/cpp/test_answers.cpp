// Logits and log-probabilities of answers against libllama's own logits, reached through llama.h alone.
//
// The model files come from the environment, set by tests/python/test_cpp_core.py.
#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <set>
#include <string>
#include <vector>

#ifdef __linux__
#include <sys/inotify.h>
#include <unistd.h>
#endif

#include "check.hpp"
#include "fastplr/answers.hpp"
#include "llama.h"

namespace {

const std::vector<std::string> kTexts{"The film is good", "a",
                                      "The company said that it rose to EUR 13.1 mn"};
const fastplr::Prompt kPrompt{"Text: ", " Is it good? Answer:"};
const std::vector<std::string> kAnswers{" yes", " no", " hard to say"};

/// libllama's logits after tokens.
class LogitsOfLibllama {
  public:
    explicit LogitsOfLibllama(const char* path) {
        llama_log_set([](ggml_log_level, const char*, void*) {}, nullptr);
        model_.reset(llama_model_load_from_file(path, llama_model_default_params()));
        llama_context_params params = llama_context_default_params();
        params.n_ctx = params.n_batch = params.n_ubatch = 256;
        params.n_threads = params.n_threads_batch = 1;
        if (model_) context_.reset(llama_init_from_model(model_.get(), params));
    }

    std::vector<llama_token> tokens_of(const std::string& text) const {
        std::vector<llama_token> tokens(text.size() + 8);
        const int n = llama_tokenize(vocab(), text.data(), static_cast<int>(text.size()), tokens.data(),
                                     static_cast<int>(tokens.size()), true, false);
        tokens.resize(static_cast<std::size_t>(std::max(n, 0)));
        return tokens;
    }

    std::vector<double> after(std::vector<llama_token> tokens) {
        llama_memory_clear(llama_get_memory(context_.get()), true);
        const auto n = static_cast<int>(tokens.size());
        if (llama_decode(context_.get(), llama_batch_get_one(tokens.data(), n)) != 0) return {};
        const float* logits = llama_get_logits_ith(context_.get(), -1);
        return {logits, logits + llama_vocab_n_tokens(vocab())};
    }

  private:
    const llama_vocab* vocab() const { return llama_model_get_vocab(model_.get()); }
    struct Free {
        void operator()(llama_model* model) const { llama_model_free(model); }
        void operator()(llama_context* context) const { llama_free(context); }
    };
    std::unique_ptr<llama_model, Free> model_;
    std::unique_ptr<llama_context, Free> context_;
};

double log_normaliser(const std::vector<double>& logits) {
    const double top = *std::max_element(logits.begin(), logits.end());
    double sum = 0.0;
    for (const double logit : logits) sum += std::exp(logit - top);
    return top + std::log(sum);
}

std::shared_ptr<fastplr::Embedder> embedder_of(const char* path, int n_ctx = 0) {
    fastplr::ModelOptions of_ggml;
    of_ggml.kernels = false;  // libllama computes with ggml
    fastplr::EmbedderOptions options;
    options.n_threads = 1;
    options.n_ctx = n_ctx;
    return std::make_shared<fastplr::Embedder>(fastplr::Model::load(path, of_ggml), options);
}

std::vector<float> states_of(fastplr::Embedder& embedder) {
    fastplr::EmbedRequest request;
    request.layers = {fastplr::kOutputNormLayer};
    request.poolings = {fastplr::Pooling::last};
    request.prompt = kPrompt;
    std::vector<float> states(kTexts.size() * static_cast<std::size_t>(embedder.model().n_embd()));
    embedder.embed(kTexts, request, states.data());
    return states;
}

void check_agreement(const char* variable) {
    const char* path = std::getenv(variable);
    if (path == nullptr) {
        std::cout << "skipped: " << variable << " names no model (tests/python/test_cpp_core.py sets it)\n";
        return;
    }
    LogitsOfLibllama by_libllama(path);
    const auto embedder = embedder_of(path);
    const fastplr::AnswerScorer scorer(embedder, kPrompt, kAnswers);
    const std::vector<float> states = states_of(*embedder);
    std::vector<double> logits(kTexts.size() * kAnswers.size());
    scorer.logits(kTexts, states.data(), {}, logits.data());
    std::vector<double> normalisers(kTexts.size());
    scorer.head().log_normalisers(states.data(), kTexts.size(), 2, normalisers.data());
    for (std::size_t t = 0; t < kTexts.size(); ++t) {
        const auto asked = by_libllama.tokens_of(kPrompt.prefix + kTexts[t] + kPrompt.suffix);
        CHECK_NEAR(normalisers[t], log_normaliser(by_libllama.after(asked)), 0.02);
        for (std::size_t a = 0; a < kAnswers.size(); ++a) {
            auto tokens = asked;
            double expected = 0.0;
            for (const int token : scorer.tokens()[a]) {
                const std::vector<double> next = by_libllama.after(tokens);
                expected += next[static_cast<std::size_t>(token)] - log_normaliser(next);
                tokens.push_back(token);
            }
            // The head is computed in float32 here; the states of a batch differ in their last bits.
            CHECK_NEAR(logits[t * kAnswers.size() + a] - normalisers[t], expected, 0.05);
        }
    }
}

}  // namespace

TEST_CASE("a decoder without BOS") { check_agreement("FASTPLR_TEST_MODEL"); }
TEST_CASE("a decoder with a SentencePiece vocabulary") { check_agreement("FASTPLR_TEST_MODEL_SPM"); }
TEST_CASE("gpt2") { check_agreement("FASTPLR_TEST_MODEL_GPT2"); }
TEST_CASE("gemma3, with a sliding window") { check_agreement("FASTPLR_TEST_MODEL_GEMMA3"); }

TEST_CASE("tokens out of range") {
    const char* path = std::getenv("FASTPLR_TEST_MODEL");
    if (path == nullptr) {
        std::cout << "skipped: FASTPLR_TEST_MODEL names no model\n";
        return;
    }
    const fastplr::OutputHead head(path);
    const std::vector<float> state(static_cast<std::size_t>(head.n_embd()), 1.0f);
    double logit = 0.0;
    CHECK_THROWS(head.logits(state.data(), 1, {head.n_vocab()}, &logit), fastplr::InputError,
                 "expected 0 to");
    CHECK_THROWS(head.logits(state.data(), 1, {-1}, &logit), fastplr::InputError, "token is -1");
    const auto embedder = embedder_of(path);
    fastplr::EmbedRequest request;
    request.layers = {fastplr::kOutputNormLayer};
    request.poolings = {fastplr::Pooling::last};
    request.continuations = {{head.n_vocab()}};
    std::vector<float> out(static_cast<std::size_t>(head.n_embd()));
    CHECK_THROWS(embedder->embed({"text"}, request, out.data()), fastplr::InputError,
                 "a continuation has the token");
    request.continuations = {{1}, {2}};
    CHECK_THROWS(embedder->embed({"text"}, request, out.data()), fastplr::InputError,
                 "2 continuations for 1 texts");
}

TEST_CASE("answers that cannot be scored") {
    const char* path = std::getenv("FASTPLR_TEST_MODEL");
    if (path == nullptr) {
        std::cout << "skipped: FASTPLR_TEST_MODEL names no model\n";
        return;
    }
    const auto embedder = embedder_of(path, 60);
    CHECK(embedder->n_ctx() == 60);
    CHECK(embedder->n_threads() == 1);
    const auto score = [&](const std::vector<std::string>& answers) {
        const fastplr::AnswerScorer scorer(embedder, kPrompt, answers);
    };
    CHECK_THROWS(score({" yes", " no", " yes"}), fastplr::InputError,
                 "answers[0] and answers[2] are both ' yes'");
    std::string longer;
    for (int i = 0; i < 70; ++i) longer += " 7";
    CHECK_THROWS(score({" yes", longer}), fastplr::InputError, "the answer ' 7 7 7");
    CHECK_THROWS(score({" yes", longer}), fastplr::InputError, "; the context holds 60");

    // The longest answer that leaves room for a text of one token.
    for (std::size_t n = 70; n > 0; --n) {
        const std::vector<std::string> answers{" yes", longer.substr(0, 2 * n)};
        try {
            score(answers);
        } catch (const fastplr::InputError&) {
            continue;
        }
        const fastplr::AnswerScorer scorer(embedder, kPrompt, answers);
        std::vector<float> state(static_cast<std::size_t>(embedder->model().n_embd()), 0.5f);
        std::vector<double> out(answers.size());
        scorer.logits({"a"}, state.data(), {}, out.data());
        CHECK(std::isfinite(out[1]));
        CHECK_THROWS(scorer.logits({"a a a a"}, state.data(), {}, out.data()), fastplr::InputError,
                     " of them for what follows the text");
        return;
    }
    CHECK(false);
}

#ifdef __linux__
TEST_CASE("the model file is opened once a branch, by the embedder's own threads") {
    const char* path = std::getenv("FASTPLR_TEST_MODEL");
    if (path == nullptr) {
        std::cout << "skipped: FASTPLR_TEST_MODEL names no model\n";
        return;
    }
    const auto embedder = embedder_of(path);
    const fastplr::AnswerScorer scorer(embedder, kPrompt, kAnswers);
    std::set<std::vector<int>> branches;
    for (const auto& tokens : scorer.tokens()) {
        for (std::size_t n = 1; n < tokens.size(); ++n)
            branches.insert({tokens.begin(), tokens.begin() + static_cast<std::ptrdiff_t>(n)});
    }
    const std::vector<float> states = states_of(*embedder);
    std::vector<double> logits(kTexts.size() * kAnswers.size());
    const int watch = inotify_init1(IN_NONBLOCK);
    CHECK(inotify_add_watch(watch, path, IN_OPEN | IN_CLOSE) >= 0);
    scorer.logits(kTexts, states.data(), {}, logits.data());
    alignas(inotify_event) char events[1 << 16];
    const ssize_t n_bytes = read(watch, events, sizeof events);
    close(watch);
    std::size_t n_opened = 0;
    for (ssize_t at = 0; at < n_bytes;) {
        const auto* event = reinterpret_cast<const inotify_event*>(events + at);
        if ((event->mask & IN_OPEN) != 0) ++n_opened;
        at += static_cast<ssize_t>(sizeof(inotify_event) + event->len);
    }
    // First tokens, the whole head on the embedder's one thread, and the next tokens of each branch.
    CHECK(n_opened == 2 + branches.size());
}
#endif
