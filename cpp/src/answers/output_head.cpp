#include <Eigen/Core>
#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <limits>
#include <string_view>
#include <thread>

#include "fastplr/answers.hpp"
#include "fastplr/available_cores.hpp"
#include "fastplr/model_info.hpp"
#include "ggml.h"
#include "model/file_cursor.hpp"
#include "model/gguf_reader.hpp"
#include "model/weight_bytes.hpp"
#include "solver/parallel.hpp"

namespace fastplr {
namespace {

using Matrix = Eigen::Matrix<float, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

// Rows of the head that are turned into float32 at once: they stay in the second-level cache.
constexpr std::size_t kRowsOfBlock = 256;

enum class Scale { none, multiplied, divided };

struct HeadRule {
    std::string_view architecture;
    Scale scale = Scale::none;
};

// Architectures whose logits are head * state (+ bias), times or by '<architecture>.logit_scale', bounded by
// '<architecture>.final_logit_softcapping': read from src/models/*.cpp of the pinned llama.cpp.
constexpr std::array kHeads{
    HeadRule{"arcee"},
    HeadRule{"bloom"},
    HeadRule{"cohere2", Scale::multiplied},
    HeadRule{"command-r", Scale::multiplied},
    HeadRule{"exaone"},
    HeadRule{"exaone4"},
    HeadRule{"falcon"},
    HeadRule{"gemma"},
    HeadRule{"gemma2"},
    HeadRule{"gemma3"},
    HeadRule{"gpt2"},
    HeadRule{"gptneox"},
    HeadRule{"granite", Scale::divided},
    HeadRule{"internlm2"},
    HeadRule{"llama"},
    HeadRule{"mistral3"},
    HeadRule{"mpt"},
    HeadRule{"olmo2"},
    HeadRule{"phi2"},
    HeadRule{"phi3"},
    HeadRule{"qwen2"},
    HeadRule{"qwen3"},
    HeadRule{"smollm3"},
    HeadRule{"stablelm"},
    HeadRule{"starcoder2"},
};

double number_at(const gguf::File& file, const std::string& key) {
    const gguf::Scalar* scalar = file.find_scalar(key);
    const float* value = scalar == nullptr ? nullptr : std::get_if<float>(scalar);
    return value == nullptr ? 0.0 : static_cast<double>(*value);
}

const gguf::Tensor& head_of(const gguf::File& file) {
    const gguf::Tensor* tensor = file.find_tensor("output.weight");
    if (tensor == nullptr) tensor = file.find_tensor("token_embd.weight");
    if (tensor == nullptr || tensor->dims.size() != 2) file.fail("has no matrix that makes logits");
    return *tensor;
}

}  // namespace

struct OutputHead::Impl {
    gguf::File file;
    const gguf::Tensor& tensor;
    std::size_t n_embd;
    std::size_t n_vocab;
    std::size_t row_bytes;
    double scale = 1.0;
    double softcap = 0.0;
    std::vector<float> bias;  // empty where there is none

    explicit Impl(const std::string& path)
        : file(gguf::open(path)),
          tensor(head_of(file)),
          n_embd(tensor.dims[0]),
          n_vocab(tensor.dims[1]),
          row_bytes(ggml_row_size(tensor.type, static_cast<std::int64_t>(tensor.dims[0]))) {
        const ModelInfo info = model_info_of(file);
        const auto* rule = std::find_if(kHeads.begin(), kHeads.end(), [&](const HeadRule& known) {
            return known.architecture == info.architecture;
        });
        if (rule == kHeads.end()) {
            throw UnsupportedArchitecture("the architecture '" + info.architecture + "' of '" + path +
                                          (info.is_encoder
                                               ? "' is an encoder: it does not say what comes next"
                                               : "' has no output head that fastplr knows"));
        }
        if (tensor.type != GGML_TYPE_F32 && ggml_get_type_traits(tensor.type)->to_float == nullptr) {
            file.fail("has a head of type " + std::string(ggml_type_name(tensor.type)) +
                      ", which cannot be turned into float32");
        }
        const double given = number_at(file, info.architecture + ".logit_scale");
        if (rule->scale != Scale::none && given != 0.0)
            scale = rule->scale == Scale::divided ? 1.0 / given : given;
        softcap = number_at(file, info.architecture + ".final_logit_softcapping");
        if (file.find_tensor("output.bias") != nullptr) {
            const std::vector<std::uint64_t> dims{n_vocab};
            bias = gguf::read_tensor_f32(file, "output.bias", &dims);
        }
    }

    // What llama.cpp makes of a product.
    double finished(double product, std::size_t token) const {
        double logit = product * scale;
        if (!bias.empty()) logit += static_cast<double>(bias[token]);
        return softcap > 0.0 ? softcap * std::tanh(logit / softcap) : logit;
    }

    // Rows [first, first + rows.rows()) in float32.
    void read_rows(FileCursor& cursor, std::size_t first, Eigen::Ref<Matrix, 0, Eigen::OuterStride<>> rows,
                   std::vector<char>& buffer) const {
        const auto n = static_cast<std::size_t>(rows.rows());
        cursor.seek(tensor.offset + first * row_bytes, "the output head");
        buffer.resize(n * row_bytes);
        cursor.read(buffer.data(), buffer.size(), "the output head");
        if (tensor.type == GGML_TYPE_F32) {
            std::copy_n(reinterpret_cast<const float*>(buffer.data()), n * n_embd, rows.data());
            return;
        }
        ggml_get_type_traits(tensor.type)
            ->to_float(buffer.data(), rows.data(), static_cast<std::int64_t>(n * n_embd));
    }
};

OutputHead::OutputHead(const std::string& path) : impl_(std::make_unique<Impl>(path)) {}
OutputHead::~OutputHead() = default;

int OutputHead::n_embd() const { return static_cast<int>(impl_->n_embd); }
int OutputHead::n_vocab() const { return static_cast<int>(impl_->n_vocab); }

void OutputHead::logits(const float* states, std::size_t n_states, const std::vector<int>& tokens,
                        double* out) const {
    const Impl& impl = *impl_;
    FileCursor cursor(impl.file.path);
    std::vector<char> buffer;
    Matrix row(1, static_cast<Eigen::Index>(impl.n_embd));
    for (std::size_t t = 0; t < tokens.size(); ++t) {
        if (tokens[t] < 0 || tokens[t] >= n_vocab()) {
            throw InputError("token is " + std::to_string(tokens[t]) + ": expected 0 to " +
                             std::to_string(n_vocab() - 1));
        }
        const auto token = static_cast<std::size_t>(tokens[t]);
        impl.read_rows(cursor, token, row, buffer);
        for (std::size_t i = 0; i < n_states; ++i) {
            double product = 0.0;
            for (std::size_t j = 0; j < impl.n_embd; ++j) {
                product +=
                    static_cast<double>(row.data()[j]) * static_cast<double>(states[i * impl.n_embd + j]);
            }
            out[i * tokens.size() + t] = impl.finished(product, token);
        }
    }
}

void OutputHead::log_normalisers(const float* states, std::size_t n_states, int n_threads, double* out,
                                 const std::function<void()>& on_step) const {
    const Impl& impl = *impl_;
    const int threads = n_threads > 0 ? n_threads : available_cores();
    const Eigen::Map<const Matrix> all(states, static_cast<Eigen::Index>(n_states),
                                       static_cast<Eigen::Index>(impl.n_embd));
    // A running maximum and the sum of exp(logit - maximum), a thread's own.
    struct Sums {
        std::vector<double> maximum, sum;
    };
    std::vector<Sums> of_thread(static_cast<std::size_t>(threads));
    const std::size_t n_blocks = (impl.n_vocab + kRowsOfBlock - 1) / kRowsOfBlock;
    auto asked = std::chrono::steady_clock::now();
    const auto caller = std::this_thread::get_id();
    solver::parallel_for(threads, threads, [&](std::ptrdiff_t thread) {
        Sums& sums = of_thread[static_cast<std::size_t>(thread)];
        sums.maximum.assign(n_states, -std::numeric_limits<double>::infinity());
        sums.sum.assign(n_states, 0.0);
        FileCursor cursor(impl.file.path);
        std::vector<char> buffer;
        Matrix rows;
        Eigen::MatrixXf products;
        for (auto block = static_cast<std::size_t>(thread); block < n_blocks;
             block += static_cast<std::size_t>(threads)) {
            const std::size_t first = block * kRowsOfBlock;
            const std::size_t n = std::min(kRowsOfBlock, impl.n_vocab - first);
            rows.resize(static_cast<Eigen::Index>(n), static_cast<Eigen::Index>(impl.n_embd));
            impl.read_rows(cursor, first, rows, buffer);
            products.noalias() = rows * all.transpose();
            for (std::size_t i = 0; i < n_states; ++i) {
                for (std::size_t r = 0; r < n; ++r) {
                    const double logit =
                        impl.finished(static_cast<double>(products(static_cast<Eigen::Index>(r),
                                                                   static_cast<Eigen::Index>(i))),
                                      first + r);
                    if (logit > sums.maximum[i]) {
                        sums.sum[i] = sums.sum[i] * std::exp(sums.maximum[i] - logit) + 1.0;
                        sums.maximum[i] = logit;
                    } else {
                        sums.sum[i] += std::exp(logit - sums.maximum[i]);
                    }
                }
            }
            const auto now = std::chrono::steady_clock::now();
            if (on_step && std::this_thread::get_id() == caller &&
                now - asked > std::chrono::milliseconds(50)) {
                on_step();
                asked = now;
            }
        }
    });
    for (std::size_t i = 0; i < n_states; ++i) {
        double maximum = -std::numeric_limits<double>::infinity();
        for (const Sums& sums : of_thread) maximum = std::max(maximum, sums.maximum[i]);
        double sum = 0.0;
        for (const Sums& sums : of_thread) sum += sums.sum[i] * std::exp(sums.maximum[i] - maximum);
        out[i] = maximum + std::log(sum);
    }
}

}  // namespace fastplr
