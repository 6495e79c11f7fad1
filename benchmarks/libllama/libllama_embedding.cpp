// libllama's own pooled embeddings, as llama.cpp's `llama-embedding` example computes them, behind a pipe.
//
//     libllama-embedding MODEL N_THREADS [N_BATCH [N_CTX]] [OPTION...]
//
// What the example does (llama.cpp 0c1e57098, examples/embedding/embedding.cpp and the defaults of common/):
// every prompt is tokenised with its special tokens; prompts are packed in the order given until the batch
// holds N_BATCH tokens or 256 prompts; one unified KV cache, cleared before each batch; the physical batch is
// as large as the logical one; pooling over all tokens of a prompt (`--pooling mean`); Euclidean norm 1. Left
// out is only what the example prints.
//
// N_BATCH (default 2048) and N_CTX (default 0: what the model was trained with) are the example's -b and -c.
// As there, a context that is larger than the batch enlarges the batch, unless it is the default.
//
// Options depart from the example, one thing each, to show what each is worth (benchmarks/tuning.py):
//
//     --flash-attn WORD   on, off or auto (llama.cpp's default, and the example's)
//     --split-kv          a KV cache of N_CTX tokens for every text of a batch, instead of one for all
//     --rows              the states of all tokens are fetched and averaged here: libllama's own pooling does
//     not see
//                         a text whole whose tokens a split cache deals out to several steps
//     --sort              longest texts first (features stay in the order given)
//     --budget N          N tokens are packed together, or one text; N_BATCH is then only what there is room
//     for
//     --texts N           at most N texts are packed together (default 256)
//
// Requests on standard input, each answered by one line of JSON on standard output:
//
//     load                          -> {"seconds": s}                  model and context
//     embed N PATH                  -> {"seconds": s, "cpu_seconds": c, "n_tokens": n}
//                                                                      features, float32, go to the file PATH
//     count N                       -> {"n_tokens": [n, ...]}          tokens of each text, nothing computed
//
// `embed` and `count` are followed by N texts, each a line with its length in bytes and then those bytes. It
// ends with its input, and with status 1 and a message on standard error where anything fails.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <iostream>
#include <memory>
#include <numeric>
#include <stdexcept>
#include <string>
#include <vector>

#include "llama.h"

namespace {

using Tokens = std::vector<llama_token>;
using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) {
    return std::chrono::duration<double>(Clock::now() - start).count();
}

struct Settings {
    std::string model;
    int n_threads = 1;
    std::uint32_t n_batch = 2048;
    std::uint32_t n_ctx = 0;
    llama_flash_attn_type flash_attn = LLAMA_FLASH_ATTN_TYPE_AUTO;
    bool split_kv = false;
    bool rows = false;
    bool sort = false;
    std::size_t budget = 0;     ///< 0: as many tokens as the batch holds
    std::size_t max_texts = 0;  ///< 0: as many as libllama takes
};

class LibllamaEmbedding {
  public:
    explicit LibllamaEmbedding(const Settings& settings) : settings_(settings) {
        llama_log_set(
            [](ggml_log_level level, const char* message, void*) {
                if (level == GGML_LOG_LEVEL_ERROR) std::cerr << message;
            },
            nullptr);
        llama_backend_init();
        model_.reset(llama_model_load_from_file(settings.model.c_str(), llama_model_default_params()));
        if (!model_) throw std::runtime_error("cannot load " + settings.model);

        llama_context_params params = llama_context_default_params();
        if (settings_.max_texts == 0) settings_.max_texts = llama_max_parallel_sequences();
        params.n_seq_max = static_cast<std::uint32_t>(settings_.max_texts);
        params.n_ctx = settings.n_ctx * (settings.split_kv ? params.n_seq_max : 1);
        params.n_batch = settings.split_kv ? settings.n_batch : std::max(settings.n_batch, settings.n_ctx);
        params.n_ubatch = params.n_batch;
        params.kv_unified = !settings.split_kv;
        params.flash_attn_type = settings.flash_attn;
        params.swa_full = false;
        params.embeddings = true;
        params.pooling_type = settings.rows ? LLAMA_POOLING_TYPE_NONE : LLAMA_POOLING_TYPE_MEAN;
        params.n_threads = params.n_threads_batch = settings.n_threads;
        context_.reset(llama_init_from_model(model_.get(), params));
        if (!context_) throw std::runtime_error("cannot make a context for " + settings.model);
        n_batch_ = params.n_batch;
        if (settings_.budget == 0) settings_.budget = n_batch_;
        batch_ = llama_batch_init(static_cast<std::int32_t>(n_batch_), 0, 1);
    }

    ~LibllamaEmbedding() { llama_batch_free(batch_); }
    LibllamaEmbedding(const LibllamaEmbedding&) = delete;
    LibllamaEmbedding& operator=(const LibllamaEmbedding&) = delete;

    Tokens tokenize(const std::string& text) const {
        const llama_vocab* vocab = llama_model_get_vocab(model_.get());
        const auto n_bytes = static_cast<std::int32_t>(text.size());
        Tokens tokens(text.size() + 2);
        int n = llama_tokenize(vocab, text.data(), n_bytes, tokens.data(),
                               static_cast<std::int32_t>(tokens.size()), true, true);
        if (n < 0) {
            tokens.resize(static_cast<std::size_t>(-n));
            n = llama_tokenize(vocab, text.data(), n_bytes, tokens.data(), -n, true, true);
        }
        if (n <= 0) throw std::runtime_error("a text has no tokens, or too many of them");
        tokens.resize(static_cast<std::size_t>(n));
        return tokens;
    }

    /// (n_texts, n_embd), row by row.
    std::vector<float> embed(const std::vector<std::string>& texts, std::size_t& n_tokens) {
        std::vector<Tokens> inputs;
        for (const std::string& text : texts) inputs.push_back(tokenize(text));
        std::vector<std::size_t> order(texts.size());
        std::iota(order.begin(), order.end(), std::size_t{0});
        if (settings_.sort) {
            std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
                return inputs[a].size() > inputs[b].size();
            });
        }
        std::vector<float> features(texts.size() * n_embd());
        std::vector<std::size_t> packed;
        n_tokens = 0;
        for (const std::size_t index : order) {
            const Tokens& input = inputs[index];
            n_tokens += input.size();
            if (input.size() > n_batch_) {
                throw std::runtime_error("a text has " + std::to_string(input.size()) +
                                         " tokens, the batch holds " + std::to_string(n_batch_));
            }
            const bool full = static_cast<std::size_t>(batch_.n_tokens) + input.size() > settings_.budget ||
                              packed.size() >= settings_.max_texts;
            if (full && !packed.empty()) {
                decode(packed, features);
                packed.clear();
            }
            add(input, static_cast<llama_seq_id>(packed.size()));
            packed.push_back(index);
        }
        decode(packed, features);
        return features;
    }

  private:
    struct Deleter {
        void operator()(llama_model* model) const { llama_model_free(model); }
        void operator()(llama_context* context) const { llama_free(context); }
    };

    std::size_t n_embd() const { return static_cast<std::size_t>(llama_model_n_embd_out(model_.get())); }

    void add(const Tokens& tokens, llama_seq_id sequence) {
        for (std::size_t i = 0; i < tokens.size(); ++i) {
            const std::int32_t row = batch_.n_tokens++;
            batch_.token[row] = tokens[i];
            batch_.pos[row] = static_cast<llama_pos>(i);
            batch_.n_seq_id[row] = 1;
            batch_.seq_id[row][0] = sequence;
            batch_.logits[row] = 1;
        }
    }

    /// `packed`: which text, a row of `features`, each sequence of the batch is.
    void decode(const std::vector<std::size_t>& packed, std::vector<float>& features) {
        if (llama_memory_t memory = llama_get_memory(context_.get())) llama_memory_clear(memory, true);
        if (llama_decode(context_.get(), batch_) != 0) throw std::runtime_error("llama_decode failed");
        std::int32_t row = 0;
        for (std::size_t s = 0; s < packed.size(); ++s) {
            const std::vector<double> pooled = settings_.rows ? mean_of_rows(s, row) : pooled_by_libllama(s);
            double squares = 0;
            for (const double value : pooled) squares += value * value;
            const double scale = squares > 0 ? 1 / std::sqrt(squares) : 0;
            float* out = features.data() + packed[s] * n_embd();
            for (const double value : pooled) *out++ = static_cast<float>(value * scale);
        }
        batch_.n_tokens = 0;
    }

    std::vector<double> pooled_by_libllama(std::size_t sequence) {
        const float* pooled = llama_get_embeddings_seq(context_.get(), static_cast<llama_seq_id>(sequence));
        if (pooled == nullptr) throw std::runtime_error("llama_get_embeddings_seq gave nothing");
        return {pooled, pooled + n_embd()};
    }

    /// `row`: the first one of the batch that belongs to the sequence; afterwards the first one that does
    /// not.
    std::vector<double> mean_of_rows(std::size_t sequence, std::int32_t& row) {
        std::vector<double> mean(n_embd());
        const std::int32_t first = row;
        for (; row < batch_.n_tokens && batch_.seq_id[row][0] == static_cast<llama_seq_id>(sequence); ++row) {
            const float* state = llama_get_embeddings_ith(context_.get(), row);
            if (state == nullptr) throw std::runtime_error("llama_get_embeddings_ith gave nothing");
            for (std::size_t j = 0; j < n_embd(); ++j) mean[j] += state[j];
        }
        for (double& value : mean) value /= row - first;
        return mean;
    }

    Settings settings_;
    std::unique_ptr<llama_model, Deleter> model_;
    std::unique_ptr<llama_context, Deleter> context_;
    llama_batch batch_{};
    std::size_t n_batch_ = 0;
};

std::vector<std::string> read_texts(std::istream& in, std::size_t n_texts) {
    std::vector<std::string> texts(n_texts);
    for (std::string& text : texts) {
        std::size_t n_bytes = 0;
        in >> n_bytes;
        in.get();  // the end of the line
        text.resize(n_bytes);
        in.read(text.data(), static_cast<std::streamsize>(n_bytes));
    }
    if (!in) throw std::runtime_error("a request is cut off");
    return texts;
}

void write_features(const std::string& path, const std::vector<float>& features) {
    std::ofstream out(path, std::ios::binary);
    out.write(reinterpret_cast<const char*>(features.data()),
              static_cast<std::streamsize>(features.size() * sizeof(float)));
    out.close();
    if (!out) throw std::runtime_error("cannot write " + path);
}

void serve(const Settings& settings) {
    std::unique_ptr<LibllamaEmbedding> rival;
    std::cout << "{\"ready\": true}" << std::endl;
    for (std::string request; std::cin >> request;) {
        const auto start = Clock::now();
        if (request == "load") {
            rival = std::make_unique<LibllamaEmbedding>(settings);
            std::cout << "{\"seconds\": " << seconds_since(start) << "}" << std::endl;
            continue;
        }
        if (!rival) throw std::runtime_error("the first request must be 'load'");
        std::size_t n_texts = 0;
        std::string path;
        std::cin >> n_texts;
        if (request == "embed") std::getline(std::cin >> std::ws, path);
        const std::vector<std::string> texts = read_texts(std::cin, n_texts);
        if (request == "embed") {
            const auto begin = Clock::now();
            const std::clock_t cpu_begin = std::clock();  // of all threads
            std::size_t n_tokens = 0;
            const std::vector<float> features = rival->embed(texts, n_tokens);
            const double seconds = seconds_since(begin);
            const double cpu_seconds = static_cast<double>(std::clock() - cpu_begin) / CLOCKS_PER_SEC;
            write_features(path, features);
            std::cout << "{\"seconds\": " << seconds << ", \"cpu_seconds\": " << cpu_seconds
                      << ", \"n_tokens\": " << n_tokens << "}" << std::endl;
        } else if (request == "count") {
            std::cout << "{\"n_tokens\": [";
            for (std::size_t i = 0; i < texts.size(); ++i) {
                std::cout << (i == 0 ? "" : ", ") << rival->tokenize(texts[i]).size();
            }
            std::cout << "]}" << std::endl;
        } else {
            throw std::runtime_error("unknown request '" + request + "'");
        }
    }
}

Settings settings_of(std::vector<std::string> arguments) {
    Settings settings;
    std::vector<std::string> given;  // without the options
    for (std::size_t i = 0; i < arguments.size(); ++i) {
        const std::string& word = arguments[i];
        const auto value = [&]() -> const std::string& {
            if (i + 1 >= arguments.size()) throw std::invalid_argument(word + " needs a value");
            return arguments[++i];
        };
        if (word == "--split-kv") {
            settings.split_kv = true;
        } else if (word == "--rows") {
            settings.rows = true;
        } else if (word == "--sort") {
            settings.sort = true;
        } else if (word == "--budget") {
            settings.budget = std::stoul(value());
        } else if (word == "--texts") {
            settings.max_texts = std::stoul(value());
        } else if (word == "--flash-attn") {
            const std::string& type = value();
            if (type != "on" && type != "off" && type != "auto") {
                throw std::invalid_argument("--flash-attn is '" + type + "': expected on, off or auto");
            }
            settings.flash_attn = type == "on"    ? LLAMA_FLASH_ATTN_TYPE_ENABLED
                                  : type == "off" ? LLAMA_FLASH_ATTN_TYPE_DISABLED
                                                  : LLAMA_FLASH_ATTN_TYPE_AUTO;
        } else if (word.rfind("--", 0) == 0) {
            throw std::invalid_argument("unknown option " + word);
        } else {
            given.push_back(word);
        }
    }
    if (given.size() < 2 || given.size() > 4) {
        throw std::invalid_argument(
            "usage: libllama-embedding MODEL N_THREADS [N_BATCH [N_CTX]] [OPTION...]");
    }
    settings.model = given[0];
    settings.n_threads = std::stoi(given[1]);
    if (given.size() > 2) settings.n_batch = static_cast<std::uint32_t>(std::stoul(given[2]));
    if (given.size() > 3) settings.n_ctx = static_cast<std::uint32_t>(std::stoul(given[3]));
    if (settings.split_kv && (settings.n_ctx == 0 || !settings.rows)) {
        throw std::invalid_argument("--split-kv needs N_CTX and --rows");
    }
    return settings;
}

}  // namespace

int main(int argc, char** argv) {
    try {
        const Settings settings = settings_of({argv + 1, argv + argc});
        std::cout.precision(9);
        serve(settings);
    } catch (const std::exception& error) {
        std::cerr << "libllama-embedding: " << error.what() << '\n';
        return 1;
    }
    return 0;
}
