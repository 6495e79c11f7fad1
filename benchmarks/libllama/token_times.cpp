// How long libllama takes for a token that it generates and for a token of a prompt, behind a pipe.
//
//     token-times MODEL N_THREADS
//
// It says {} when it is ready. Requests on standard input, each answered by one line of JSON on standard
// output:
//
//     load              -> {"seconds": s}    model and context
//     generate N        -> {"seconds": s}    N tokens one after the other, each the most probable one after
//     those
//                                            before it, after a prompt of 64 tokens that is not counted
//     prompt N          -> {"seconds": s}    a prompt of N tokens, in batches of 512, logits of the last one
//     only
//
// It ends with its input, and with status 1 and a message on standard error where anything fails.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <iostream>
#include <memory>
#include <stdexcept>
#include <string>
#include <vector>

#include "llama.h"

namespace {

using Clock = std::chrono::steady_clock;

constexpr int kBefore = 64;
constexpr int kContext = 1024;

double seconds_since(Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
}

class TokenTimes {
  public:
    TokenTimes(const std::string& path, int n_threads) {
        llama_log_set(
            [](ggml_log_level level, const char* message, void*) {
                if (level == GGML_LOG_LEVEL_ERROR) std::cerr << message;
            },
            nullptr);
        llama_backend_init();
        model_.reset(llama_model_load_from_file(path.c_str(), llama_model_default_params()));
        if (!model_) throw std::runtime_error("cannot load " + path);
        llama_context_params params = llama_context_default_params();
        params.n_ctx = kContext;
        params.n_batch = params.n_ubatch = 512;
        params.n_threads = params.n_threads_batch = n_threads;
        context_.reset(llama_init_from_model(model_.get(), params));
        if (!context_) throw std::runtime_error("cannot make a context for " + path);
    }

    double prompt(int n_tokens) {
        llama_memory_clear(llama_get_memory(context_.get()), true);
        // Ordinary tokens, the same ones every time.
        std::vector<llama_token> tokens(static_cast<std::size_t>(n_tokens));
        for (std::size_t i = 0; i < tokens.size(); ++i) {
            tokens[i] = static_cast<llama_token>((1000 + 7919 * i) % static_cast<std::size_t>(n_vocab()));
        }
        const auto start = Clock::now();
        for (int first = 0; first < n_tokens; first += 512) {
            decode(tokens.data() + first, std::min(512, n_tokens - first));
        }
        llama_synchronize(context_.get());
        return seconds_since(start);
    }

    double generate(int n_tokens) {
        (void)prompt(kBefore);
        const auto start = Clock::now();
        for (int i = 0; i < n_tokens; ++i) {
            const float* logits = llama_get_logits_ith(context_.get(), -1);
            llama_token next =
                static_cast<llama_token>(std::max_element(logits, logits + n_vocab()) - logits);
            decode(&next, 1);
        }
        llama_synchronize(context_.get());
        return seconds_since(start);
    }

  private:
    int n_vocab() const { return llama_vocab_n_tokens(llama_model_get_vocab(model_.get())); }

    void decode(llama_token* tokens, int n_tokens) {
        if (llama_decode(context_.get(), llama_batch_get_one(tokens, n_tokens)) != 0) {
            throw std::runtime_error("llama_decode failed");
        }
    }

    struct Free {
        void operator()(llama_model* model) const { llama_model_free(model); }
        void operator()(llama_context* context) const { llama_free(context); }
    };
    std::unique_ptr<llama_model, Free> model_;
    std::unique_ptr<llama_context, Free> context_;
};

int serve(const std::string& model, int n_threads) {
    std::unique_ptr<TokenTimes> times;
    std::cout << "{}" << std::endl;  // ready
    std::string request;
    while (std::cin >> request) {
        double seconds = 0.0;
        if (request == "load") {
            const auto start = Clock::now();
            times = std::make_unique<TokenTimes>(model, n_threads);
            seconds = seconds_since(start);
        } else {
            int n_tokens = 0;
            if (!times || !(std::cin >> n_tokens) || n_tokens < 1 || n_tokens > kContext - kBefore) {
                throw std::runtime_error("cannot do '" + request + "'");
            }
            seconds = request == "generate" ? times->generate(n_tokens) : times->prompt(n_tokens);
        }
        std::cout << "{\"seconds\": " << seconds << "}" << std::endl;
    }
    return 0;
}

}  // namespace

int main(int argc, char** argv) try {
    if (argc != 3) throw std::runtime_error("expected MODEL N_THREADS");
    std::cout.precision(9);
    return serve(argv[1], std::atoi(argv[2]));
} catch (const std::exception& error) {
    std::cerr << "token-times: " << error.what() << "\n";
    return 1;
}
