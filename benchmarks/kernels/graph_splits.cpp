// What it costs to compute the products of a graph in a backend of their own: a graph of the size of
// SmolLM2-135M's blocks, computed by ggml's scheduler on one CPU backend, and with its products in a second
// one that takes nothing else, as ggml-blas does. Both use fastplr's kernels and the same threads; the
// difference is that of splitting.
//
//     graph-splits N_THREADS N_TOKENS
//
// One JSON object: seconds of each round for "one backend" and for "products apart", and the number of
// splits.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "ggml-alloc.h"
#include "ggml-backend-impl.h"
#include "ggml-backend.h"
#include "ggml-cpu.h"
#include "ggml.h"
#include "kernels/ggml_join.hpp"

namespace {

constexpr int kRounds = 21;
constexpr int kBlocks = 30;
constexpr std::int64_t kWidth = 576, kKeys = 192, kInner = 1536;

double now() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

ggml_backend_buffer_type_t kernel_buffers() {
    auto* device = ggml_backend_reg_dev_get(ggml_backend_cpu_reg(), 0);
    const auto extra = reinterpret_cast<ggml_backend_dev_get_extra_bufts_t>(
        ggml_backend_reg_get_proc_address(ggml_backend_cpu_reg(), "ggml_backend_dev_get_extra_bufts"));
    for (auto* type = extra(device); *type != nullptr; ++type) {
        if (std::strcmp(ggml_backend_buft_name(*type), "FASTPLR") == 0) return *type;
    }
    return nullptr;
}

ggml_backend_t cpu(int n_threads, ggml_threadpool_t threads) {
    ggml_backend_t backend = ggml_backend_cpu_init();
    ggml_backend_cpu_set_n_threads(backend, n_threads);
    ggml_backend_cpu_set_threadpool(backend, threads);
    return backend;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 3) {
        std::fprintf(stderr, "usage: graph-splits N_THREADS N_TOKENS\n");
        return 2;
    }
    const int n_threads = std::atoi(argv[1]);
    const std::int64_t n_tokens = std::atol(argv[2]);
    fastplr::kernels::join_ggml();
    ggml_threadpool_params pool = ggml_threadpool_params_default(n_threads);
    ggml_threadpool_t threads = ggml_threadpool_new(&pool);
    ggml_backend_t backends[] = {cpu(n_threads, threads), cpu(n_threads, threads)};
    ggml_backend_device products = *ggml_backend_get_device(backends[0]);
    products.iface.supports_op = [](ggml_backend_dev_t, const ggml_tensor* op) {
        return op->op == GGML_OP_MUL_MAT;
    };
    backends[0]->device = &products;

    ggml_context* weights = ggml_init({ggml_tensor_overhead() * 1024, nullptr, true});
    std::vector<ggml_tensor*> matrices;
    const std::int64_t shapes[7][2] = {{kWidth, kWidth}, {kWidth, kKeys},  {kWidth, kKeys}, {kWidth, kWidth},
                                       {kWidth, kInner}, {kWidth, kInner}, {kInner, kWidth}};
    for (int block = 0; block < kBlocks; ++block) {
        for (const auto& shape : shapes) {
            matrices.push_back(ggml_new_tensor_2d(weights, GGML_TYPE_Q4_0, shape[0], shape[1]));
        }
    }
    ggml_backend_buffer_t weights_buffer =
        ggml_backend_alloc_ctx_tensors_from_buft(weights, kernel_buffers());
    for (ggml_tensor* matrix : matrices) {
        const std::vector<char> zeros(ggml_nbytes(matrix));
        ggml_backend_tensor_set(matrix, zeros.data(), 0, zeros.size());
    }

    std::vector<double> seconds[2];
    int splits[2] = {0, 0};
    for (int round = 0; round <= kRounds; ++round) {
        for (int apart = 0; apart < 2; ++apart) {
            ggml_context* context = ggml_init(
                {ggml_tensor_overhead() * 2048 + ggml_graph_overhead_custom(2048, false), nullptr, true});
            ggml_cgraph* graph = ggml_new_graph_custom(context, 2048, false);
            ggml_tensor* x = ggml_new_tensor_2d(context, GGML_TYPE_F32, kWidth, n_tokens);
            ggml_set_input(x);
            ggml_backend_sched_t sched =
                ggml_backend_sched_new(backends + 1 - apart, nullptr, 1 + apart, 2048, false, false);
            const auto product = [&](ggml_tensor* matrix, ggml_tensor* input) {
                ggml_tensor* result = ggml_mul_mat(context, matrix, input);
                ggml_backend_sched_set_tensor_backend(sched, result, backends[1 - apart]);
                return result;
            };
            const auto here = [&](ggml_tensor* tensor) {
                ggml_backend_sched_set_tensor_backend(sched, tensor, backends[1]);
                return tensor;
            };
            ggml_tensor* state = here(ggml_scale(context, x, 1.0F));
            for (int block = 0; block < kBlocks; ++block) {
                ggml_tensor* const* own = matrices.data() + 7 * block;
                ggml_tensor* in = here(ggml_rms_norm(context, state, 1e-5F));
                ggml_tensor* q = product(own[0], in);
                ggml_tensor* k = product(own[1], in);
                ggml_tensor* v = product(own[2], in);
                q = here(ggml_add(context, q, ggml_repeat(context, here(ggml_add(context, k, v)), q)));
                state = here(ggml_add(context, state, product(own[3], q)));
                in = here(ggml_rms_norm(context, state, 1e-5F));
                ggml_tensor* gate = product(own[4], in);
                ggml_tensor* up = product(own[5], in);
                ggml_tensor* inner = here(ggml_mul(context, here(ggml_silu(context, gate)), up));
                state = here(ggml_add(context, state, product(own[6], inner)));
            }
            ggml_build_forward_expand(graph, state);
            ggml_backend_sched_alloc_graph(sched, graph);
            const std::vector<float> zeros(static_cast<std::size_t>(kWidth * n_tokens), 0.5F);
            ggml_backend_tensor_set(x, zeros.data(), 0, zeros.size() * sizeof(float));
            ggml_backend_sched_graph_compute(sched, graph);
            const double start = now();
            ggml_backend_sched_graph_compute(sched, graph);
            if (round > 0) seconds[apart].push_back(now() - start);
            splits[apart] = ggml_backend_sched_get_n_splits(sched);
            ggml_backend_sched_free(sched);
            ggml_free(context);
        }
    }
    std::printf("{");
    for (int apart = 0; apart < 2; ++apart) {
        std::printf("\"%s\": {\"splits\": %d, \"seconds\": [", apart == 0 ? "one backend" : "products apart",
                    splits[apart]);
        for (std::size_t i = 0; i < seconds[apart].size(); ++i) {
            std::printf("%s%.9g", i == 0 ? "" : ", ", seconds[apart][i]);
        }
        std::printf("]}%s", apart == 0 ? ", " : "}\n");
    }
    ggml_backend_buffer_free(weights_buffer);
    ggml_free(weights);
    for (ggml_backend_t backend : backends) ggml_backend_free(backend);
    ggml_threadpool_free(threads);
}
