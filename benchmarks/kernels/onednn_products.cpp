// Speed of oneDNN's products of bytes, weights with one scale an output: what dynamic quantisation in PyTorch
// and OpenVINO comes to, less the quantising of the activations, which is not counted here.
//
//     onednn-products N_ROWS N_INPUTS N_OUTPUTS [N_INPUTS N_OUTPUTS ...]
//
// OMP_NUM_THREADS (or the scheduler of the library) sets the threads. One JSON object a line, as
// kernel-products.
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <oneapi/dnnl/dnnl.hpp>
#include <unordered_map>
#include <vector>

namespace {

constexpr int kRounds = 11;
constexpr int kRepeats = 8;

double now() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

int main(int argc, char** argv) {
    if (argc < 4 || argc % 2 != 0) {
        std::fprintf(stderr, "usage: onednn-products N_ROWS N_INPUTS N_OUTPUTS ...\n");
        return 2;
    }
    using tag = dnnl::memory::format_tag;
    using type = dnnl::memory::data_type;
    const dnnl::engine engine(dnnl::engine::kind::cpu, 0);
    dnnl::stream stream(engine);
    const std::int64_t n_rows = std::atol(argv[1]);
    for (int i = 2; i + 1 < argc; i += 2) {
        const std::int64_t n_inputs = std::atol(argv[i]), n_outputs = std::atol(argv[i + 1]);
        const dnnl::memory::desc x({n_rows, n_inputs}, type::s8, tag::ab),
            any({n_inputs, n_outputs}, type::s8, tag::any);
        const dnnl::memory::desc y({n_rows, n_outputs}, type::f32, tag::ab);
        dnnl::primitive_attr scales;
        scales.set_scales_mask(DNNL_ARG_WEIGHTS, 1 << 1);
        const dnnl::matmul::primitive_desc description(engine, x, any, y, scales);
        const dnnl::matmul product(description);
        dnnl::memory weights(description.weights_desc(), engine), input(x, engine), output(y, engine);
        dnnl::memory plain({{n_inputs, n_outputs}, type::s8, tag::ab}, engine);
        auto* codes = static_cast<std::int8_t*>(plain.get_data_handle());
        for (std::int64_t k = 0; k < n_inputs * n_outputs; ++k)
            codes[k] = static_cast<std::int8_t>(k * 7919 % 255 - 127);
        dnnl::reorder(plain, weights).execute(stream, plain, weights);
        dnnl::memory weight_scales({{n_outputs}, type::f32, tag::a}, engine);
        for (std::int64_t o = 0; o < n_outputs; ++o)
            static_cast<float*>(weight_scales.get_data_handle())[o] = 0.01F;
        auto* activations = static_cast<std::int8_t*>(input.get_data_handle());
        for (std::int64_t k = 0; k < n_rows * n_inputs; ++k)
            activations[k] = static_cast<std::int8_t>(k * 31 % 255 - 127);
        const std::unordered_map<int, dnnl::memory> arguments = {
            {DNNL_ARG_SRC, input},
            {DNNL_ARG_WEIGHTS, weights},
            {DNNL_ARG_DST, output},
            {DNNL_ARG_ATTR_SCALES | DNNL_ARG_WEIGHTS, weight_scales}};
        std::vector<double> seconds;
        for (int round = 0; round <= kRounds; ++round) {
            const double start = now();
            for (int repeat = 0; repeat < kRepeats; ++repeat) {
                product.execute(stream, arguments);
                stream.wait();
            }
            if (round > 0) seconds.push_back((now() - start) / kRepeats);
        }
        std::printf(R"({"kernels": "oneDNN", "n_inputs": %s, "n_outputs": %s, "seconds": [)", argv[i],
                    argv[i + 1]);
        for (std::size_t k = 0; k < seconds.size(); ++k)
            std::printf("%s%.9g", k == 0 ? "" : ", ", seconds[k]);
        std::printf("]}\n");
    }
}
