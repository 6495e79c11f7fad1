// Speed of matrix products within ggml graphs: GOP/s of our kernels and of ggml's own, for a type and shapes.
//
//     kernel-products TYPE N_THREADS N_ROWS N_INPUTS N_OUTPUTS [N_INPUTS N_OUTPUTS ...]
//
// One JSON object a line: {"kernels": "avx512-vnni" | "ggml", "n_inputs", "n_outputs", "seconds": [...]}. The
// two take turns, round by round. Also {"peak": GOP/s} of the instruction that multiplies bytes, where there
// is one.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "ggml-alloc.h"
#include "ggml-backend.h"
#include "ggml-cpu.h"
#include "ggml.h"
#include "kernels/ggml_join.hpp"
#include "kernels/variant.hpp"
#ifdef __AVX512VNNI__
#include <immintrin.h>
#endif

namespace {

constexpr int kRounds = 11;
/// Products in a graph: of larger matrices fewer.
int repeats(std::int64_t n_inputs, std::int64_t n_outputs) {
    return static_cast<int>(std::clamp<std::int64_t>(8 * 576 * 1536 / (n_inputs * n_outputs), 1, 16));
}

double now() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

ggml_backend_buffer_type_t find_type(const char* name) {
    auto* device = ggml_backend_reg_dev_get(ggml_backend_cpu_reg(), 0);
    const auto extra = reinterpret_cast<ggml_backend_dev_get_extra_bufts_t>(
        ggml_backend_reg_get_proc_address(ggml_backend_cpu_reg(), "ggml_backend_dev_get_extra_bufts"));
    for (auto* type = extra(device); *type != nullptr; ++type) {
        if (std::strcmp(ggml_backend_buft_name(*type), name) == 0) return *type;
    }
    return nullptr;
}

/// A graph of some equal products, and the memory behind it.
class Products {
  public:
    Products(ggml_type type, ggml_backend_buffer_type_t weights_in, std::int64_t n_rows,
             std::int64_t n_inputs, std::int64_t n_outputs)
        : n_repeats_(repeats(n_inputs, n_outputs)) {
        const ggml_init_params params = {ggml_tensor_overhead() * 64 + ggml_graph_overhead(), nullptr, true};
        weights_ = ggml_init(params);
        rest_ = ggml_init(params);
        ggml_tensor* w = ggml_new_tensor_2d(weights_, type, n_inputs, n_outputs);
        ggml_tensor* x = ggml_new_tensor_2d(rest_, GGML_TYPE_F32, n_inputs, n_rows);
        graph_ = ggml_new_graph(rest_);
        weights_buffer_ = ggml_backend_alloc_ctx_tensors_from_buft(weights_, weights_in);
        for (int i = 0; i < n_repeats_; ++i) ggml_build_forward_expand(graph_, ggml_mul_mat(rest_, w, x));
        rest_buffer_ = ggml_backend_alloc_ctx_tensors_from_buft(rest_, ggml_backend_cpu_buffer_type());

        std::mt19937 generator(0);
        std::normal_distribution<float> normal;
        // Some rows again and again: to quantise them takes longer than to multiply by them.
        const std::int64_t n_distinct = std::min<std::int64_t>(n_outputs, 64);
        std::vector<float> values(static_cast<std::size_t>(n_inputs * n_distinct));
        for (float& value : values) value = normal(generator);
        const std::size_t row_bytes = ggml_row_size(type, n_inputs);
        std::vector<char> quantised(row_bytes * static_cast<std::size_t>(n_outputs));
        ggml_quantize_chunk(type, values.data(), quantised.data(), 0, n_distinct, n_inputs, nullptr);
        for (std::size_t k = row_bytes * static_cast<std::size_t>(n_distinct); k < quantised.size(); ++k)
            quantised[k] = quantised[k - row_bytes * static_cast<std::size_t>(n_distinct)];
        ggml_backend_tensor_set(w, quantised.data(), 0, quantised.size());
        values.resize(static_cast<std::size_t>(n_inputs * n_rows));
        for (float& value : values) value = normal(generator);
        ggml_backend_tensor_set(x, values.data(), 0, values.size() * sizeof(float));
    }

    ~Products() {
        ggml_backend_buffer_free(weights_buffer_);
        ggml_backend_buffer_free(rest_buffer_);
        ggml_free(weights_);
        ggml_free(rest_);
    }

    double seconds(ggml_backend_t backend) const {
        const double start = now();
        ggml_backend_graph_compute(backend, graph_);
        return (now() - start) / n_repeats_;
    }

  private:
    int n_repeats_;
    ggml_context *weights_, *rest_;
    ggml_backend_buffer_t weights_buffer_, rest_buffer_;
    ggml_cgraph* graph_;
};

#ifdef __AVX512VNNI__
/// GOP/s of the instruction alone, twelve sums, each in a register of its own: the best of some rounds, since
/// threads that were just started may share a core for a while.
double peak(int n_threads) {
    constexpr long kCount = 20'000'000;
    const auto run = [] {
        const __m512i one = _mm512_set1_epi8(1);
        __m512i a = one, b = one, c = one, d = one, e = one, f = one, g = one, h = one, i = one, j = one,
                k = one, l = one;
        for (long round = 0; round < kCount; ++round) {
            for (__m512i* sum : {&a, &b, &c, &d, &e, &f, &g, &h, &i, &j, &k, &l}) {
                asm volatile("vpdpbusd %1, %1, %0" : "+v"(*sum) : "v"(one));
            }
        }
    };
    double least = std::numeric_limits<double>::infinity();
    for (int round = 0; round < 20; ++round) {
        const double start = now();
        std::vector<std::thread> threads;
        for (int i = 1; i < n_threads; ++i) threads.emplace_back(run);
        run();
        for (std::thread& thread : threads) thread.join();
        least = std::min(least, now() - start);
    }
    return n_threads * 12.0 * kCount * 128.0 / least / 1e9;
}
#endif

void print(const char* kernels, const char* n_inputs, const char* n_outputs,
           const std::vector<double>& seconds) {
    std::printf(R"({"kernels": "%s", "n_inputs": %s, "n_outputs": %s, "seconds": [)", kernels, n_inputs,
                n_outputs);
    for (std::size_t i = 0; i < seconds.size(); ++i) std::printf("%s%.9g", i == 0 ? "" : ", ", seconds[i]);
    std::printf("]}\n");
}

}  // namespace

int main(int argc, char** argv) {
    if (argc < 6 || argc % 2 != 0) {
        std::fprintf(stderr, "usage: kernel-products TYPE N_THREADS N_ROWS N_INPUTS N_OUTPUTS ...\n");
        return 2;
    }
    ggml_type type = GGML_TYPE_COUNT;
    for (int t = 0; t < GGML_TYPE_COUNT; ++t) {
        const char* name = ggml_type_name(static_cast<ggml_type>(t));
        if (name != nullptr && std::string(argv[1]) == name) type = static_cast<ggml_type>(t);
    }
    const int n_threads = std::atoi(argv[2]);
    const auto* variant = fastplr::kernels::chosen_variant();
    if (type == GGML_TYPE_COUNT || n_threads < 1 || variant == nullptr) {
        std::fprintf(stderr, "kernel-products: no type \"%s\", no threads, or kernels are off\n", argv[1]);
        return 2;
    }
    fastplr::kernels::join_ggml();
    ggml_backend_t backend = ggml_backend_cpu_init();
    ggml_threadpool_params pool = ggml_threadpool_params_default(n_threads);
    ggml_threadpool_t threads = ggml_threadpool_new(&pool);
    ggml_backend_cpu_set_n_threads(backend, n_threads);
    ggml_backend_cpu_set_threadpool(backend, threads);
#ifdef __AVX512VNNI__
    std::printf("{\"peak\": %.1f}\n", peak(n_threads));
#endif
    ggml_backend_buffer_type_t ours = find_type("FASTPLR");
    for (int i = 4; i + 1 < argc; i += 2) {
        const std::int64_t n_rows = std::atol(argv[3]), n_inputs = std::atol(argv[i]),
                           n_outputs = std::atol(argv[i + 1]);
        // Where ggml would put this matrix: in its repacked form where there is one.
        ggml_backend_buffer_type_t theirs = find_type("CPU_REPACK");
        const bool repacked = theirs != nullptr && (type == GGML_TYPE_Q4_0 || type == GGML_TYPE_Q4_K ||
                                                    type == GGML_TYPE_IQ4_NL || type == GGML_TYPE_Q2_K);
        if (!repacked) theirs = ggml_backend_cpu_buffer_type();
        const Products own(type, ours, n_rows, n_inputs, n_outputs);
        const Products other(type, theirs, n_rows, n_inputs, n_outputs);
        own.seconds(backend);
        other.seconds(backend);
        std::vector<double> own_seconds, other_seconds;
        for (int round = 0; round < kRounds; ++round) {
            own_seconds.push_back(own.seconds(backend));
            other_seconds.push_back(other.seconds(backend));
        }
        print(variant->name, argv[i], argv[i + 1], own_seconds);
        print(repacked ? "ggml, repacked" : "ggml", argv[i], argv[i + 1], other_seconds);
    }
    ggml_backend_free(backend);
    ggml_threadpool_free(threads);
}
