#include "ggml_join.hpp"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include "activation_layout.hpp"
#include "fastplr/errors.hpp"
#include "ggml-backend-impl.h"
#include "ggml-cpu.h"
#include "ggml-cpu/traits.h"
#include "ggml-quants.h"
#include "ggml.h"
#include "ggml_operation.hpp"
#include "graph_plan.hpp"
#include "packed_weights.hpp"
#include "variant.hpp"

namespace fastplr::kernels {
namespace {

/// Rows of the last panel of a matrix that are computed at a time, where the panel has fewer than kPanel
/// outputs.
constexpr std::int64_t kTailRows = 64;
/// Panels that any variant multiplies together.
constexpr int kMostPanels = 3;

/// While nothing is loaded everything: what lies in our buffers was chosen when it was loaded.
thread_local Matrices loaded_for = Matrices::floats_too;

bool is_float(ggml_type type) {
    return type == GGML_TYPE_F32 || type == GGML_TYPE_F16 || type == GGML_TYPE_BF16;
}

/// The format of a matrix that the kernels multiply, else null.
const WeightFormat* covered(const ggml_tensor* weights) {
    const WeightFormat* format = format_of_ggml(weights->type);
    if (format == nullptr || ggml_n_dims(weights) != 2 || weights->ne[0] % format->n_block != 0)
        return nullptr;
    return ggml_is_contiguous(weights) ? format : nullptr;
}

/// What each thread unpacks, one thread behind another.
class ThreadSpace {
  public:
    ThreadSpace(const WeightFormat& format, std::int64_t n_inputs) : mins_(format.mins) {
        const auto groups = static_cast<std::size_t>(n_inputs / kUnit * format.n_groups);
        panel_codes_ = aligned(static_cast<std::size_t>(n_inputs) * kPanel);
        panel_scales_ = aligned(groups * kPanel * sizeof(float));
        panel_ = panel_codes_ + panel_scales_ * (format.mins ? 2 : 1);
        size_ = panel_ * kMostPanels + kTailRows * kPanel * sizeof(float);
    }

    std::size_t size() const { return size_; }  ///< in bytes, of a thread

    UnpackedPanel panel(std::uint8_t* base, int number) const {
        std::uint8_t* at = base + panel_ * static_cast<std::size_t>(number);
        auto* scales = reinterpret_cast<float*>(at + panel_codes_);
        return {at, scales, mins_ ? scales + panel_scales_ / sizeof(float) : nullptr};
    }

    /// [kTailRows][kPanel]
    float* tail(std::uint8_t* base) const { return reinterpret_cast<float*>(base + panel_ * kMostPanels); }

  private:
    bool mins_;
    std::size_t panel_codes_, panel_scales_, panel_, size_;
};

void prefetch(const std::uint8_t* bytes, std::size_t begin, std::size_t end) {
    constexpr std::size_t kLine = 64;
    for (std::size_t at = begin; at < end; at += kLine) __builtin_prefetch(bytes + at, 0, 2);
}

/// The outputs of a panel that has fewer than kPanel.
void multiply_last_panel(const Variant& variant, const WeightFormat& format, const ActivationLayout& layout,
                         void* activations, float* tail, std::int64_t n_rows, std::int64_t n_inputs,
                         const UnpackedPanel& panel, std::int64_t n_outputs, float* out,
                         std::int64_t stride) {
    for (std::int64_t row = 0; row < n_rows; row += kTailRows) {
        const std::int64_t count = std::min(kTailRows, n_rows - row);
        variant.multiply(format, layout.from_row(activations, row), count, n_inputs, &panel, 1, tail, kPanel);
        for (std::int64_t r = 0; r < count; ++r) {
            std::memcpy(out + (row + r) * stride, tail + r * kPanel,
                        static_cast<std::size_t>(n_outputs) * sizeof(float));
        }
    }
}

/// Every thread its rows.
void quantise_rows(const ggml_compute_params* params, const Variant& variant, const WeightFormat& format,
                   const ggml_tensor* input, const ActivationLayout& layout, void* to) {
    const std::int64_t n_rows = ggml_nrows(input);
    for (std::int64_t row = params->ith; row < n_rows; row += params->nth) {
        const std::int64_t i1 = row % input->ne[1], rest = row / input->ne[1];
        const auto offset = static_cast<std::size_t>(i1) * input->nb[1] +
                            static_cast<std::size_t>(rest % input->ne[2]) * input->nb[2] +
                            static_cast<std::size_t>(rest / input->ne[2]) * input->nb[3];
        const auto* values = reinterpret_cast<const float*>(static_cast<const char*>(input->data) + offset);
        variant.quantise(format, values, input->ne[0], layout.from_row(to, row));
    }
}

class Product : public ggml::cpu::tensor_traits {
  public:
    bool work_size(int n_threads, const ggml_tensor* op, std::size_t& size) override {
        const WeightFormat* format = covered(op->src[0]);
        if (op->op != GGML_OP_MUL_MAT || format == nullptr) return false;
        const std::int64_t n_inputs = op->src[0]->ne[0];
        size = ThreadSpace(*format, n_inputs).size() * static_cast<std::size_t>(n_threads) + kAlignment;
        if (!has_quantised_input(op))
            size += ActivationLayout(*format, ggml_nrows(op->src[1]), n_inputs).size();
        return true;
    }

    bool compute_forward(ggml_compute_params* params, ggml_tensor* op) override {
        const ggml_tensor* weights = op->src[0];
        const ggml_tensor* input = op->src[1];
        const WeightFormat* found = covered(weights);
        if (op->op != GGML_OP_MUL_MAT || found == nullptr) return false;
        const WeightFormat& format = *found;
        const Variant& variant = *chosen_variant();
        const std::int64_t n_inputs = weights->ne[0], n_outputs = weights->ne[1], n_rows = ggml_nrows(input);
        const ActivationLayout layout(format, n_rows, n_inputs);
        const ThreadSpace space(format, n_inputs);
        auto* base = reinterpret_cast<std::uint8_t*>(begin_of_work(params));
        std::uint8_t* own = base + space.size() * static_cast<std::size_t>(params->ith);
        void* activations = input->data;
        if (!has_quantised_input(op)) {
            activations = base + space.size() * static_cast<std::size_t>(params->nth);
            quantise_rows(params, variant, format, input, layout, activations);
        }
        const std::int64_t n_panels = (n_outputs + kPanel - 1) / kPanel;
        const std::int64_t at_once =
            std::clamp<std::int64_t>((n_panels + params->nth - 1) / params->nth, 1, variant.n_panels);
        if (params->ith == 0) ggml_threadpool_chunk_set(params->threadpool, params->nth);
        ggml_barrier(params->threadpool);

        auto* out = static_cast<float*>(op->data);
        const auto stride = static_cast<std::int64_t>(op->nb[1] / sizeof(float));
        const auto* packed = static_cast<const std::uint8_t*>(weights->data);
        const std::size_t panel_bytes = format.panel_bytes(n_inputs);
        const std::int64_t n_chunks = (n_panels + at_once - 1) / at_once;
        for (std::int64_t chunk = params->ith; chunk < n_chunks;
             chunk = ggml_threadpool_chunk_add(params->threadpool, 1)) {
            const std::int64_t first = chunk * at_once;
            const int count = static_cast<int>(std::min(at_once, n_panels - first));
            UnpackedPanel panels[kMostPanels];
            for (int p = 0; p < count; ++p) {
                panels[p] = space.panel(own, p);
                variant.unpack(format, packed + static_cast<std::size_t>(first + p) * panel_bytes, n_inputs,
                               panels[p]);
            }
            // What this thread most likely unpacks next is fetched while these panels are multiplied.
            const std::int64_t next = first + params->nth * at_once;
            prefetch(packed, static_cast<std::size_t>(next) * panel_bytes,
                     static_cast<std::size_t>(std::min(next + at_once, n_panels)) * panel_bytes);
            const std::int64_t n_left = n_outputs - first * kPanel;
            const int n_whole = static_cast<int>(std::min<std::int64_t>(count, n_left / kPanel));
            variant.multiply(format, layout.from_row(activations, 0), n_rows, n_inputs, panels, n_whole,
                             out + first * kPanel, stride);
            if (n_whole < count) {
                multiply_last_panel(variant, format, layout, activations, space.tail(own), n_rows, n_inputs,
                                    panels[n_whole], n_left - n_whole * kPanel,
                                    out + (first + n_whole) * kPanel, stride);
            }
        }
        return true;
    }
};

ggml_backend_buffer_type_t buffer_type();

class ExtraBufferType : public ggml::cpu::extra_buffer_type {
  public:
    bool supports_op(ggml_backend_dev_t, const ggml_tensor* op) override {
        // Asked at loading too, to choose a place for a matrix.
        const ggml_tensor* weights = op->src[0];
        const ggml_tensor* input = op->src[1];
        if (op->op != GGML_OP_MUL_MAT || covered(weights) == nullptr || !computes(weights)) return false;
        if (loaded_for == Matrices::none) return false;
        if (is_float(weights->type) && (loaded_for != Matrices::floats_too || !may_be_rounded(weights->name)))
            return false;
        if (input->buffer != nullptr && !ggml_backend_buft_is_host(input->buffer->buft)) return false;
        return input->type == GGML_TYPE_F32 && op->type == GGML_TYPE_F32;
    }

    ggml::cpu::tensor_traits* get_tensor_traits(const ggml_tensor* op) override {
        static Product product;
        if (op->op == GGML_OP_MUL_MAT && computes(op->src[0])) return &product;
        return traits_of_marked(op);
    }
};

/// Rounds a matrix of floats to the blocks of Q8_0, panel by panel.
void pack_floats(const WeightFormat& format, const ggml_tensor* tensor, const char* data,
                 std::uint8_t* panels) {
    const std::size_t value_bytes = ggml_type_size(tensor->type);
    const auto to_float = ggml_get_type_traits(tensor->type)->to_float;  // null for float32
    const auto n_inputs = static_cast<std::size_t>(tensor->ne[0]);
    const auto n_outputs = static_cast<std::size_t>(tensor->ne[1]);
    for (std::size_t first = 0; first < n_outputs; first += kPanel) {
        const std::size_t n_lanes = std::min<std::size_t>(kPanel, n_outputs - first);
        for (std::size_t at = 0; at < n_inputs; at += kUnit, panels += format.block_bytes()) {
            block_q8_0 blocks[kPanel];
            for (std::size_t lane = 0; lane < n_lanes; ++lane) {
                const char* from = data + ((first + lane) * n_inputs + at) * value_bytes;
                float values[kUnit];
                if (to_float != nullptr) {
                    to_float(from, values, kUnit);
                } else {
                    std::memcpy(values, from, sizeof values);
                }
                quantize_row_q8_0_ref(values, blocks + lane, kUnit);
            }
            pack(format, reinterpret_cast<const std::uint8_t*>(blocks), static_cast<std::int64_t>(n_lanes),
                 kUnit, panels);
        }
    }
}

ggml_status init_tensor(ggml_backend_buffer_t, ggml_tensor*) { return GGML_STATUS_SUCCESS; }

void set_tensor(ggml_backend_buffer_t, ggml_tensor* tensor, const void* data, std::size_t offset,
                std::size_t size) {
    GGML_ASSERT(offset == 0 && size == ggml_nbytes(tensor));
    const WeightFormat* format = covered(tensor);
    GGML_ASSERT(format != nullptr);
    auto* panels = static_cast<std::uint8_t*>(tensor->data);
    if (is_float(tensor->type)) {
        pack_floats(*format, tensor, static_cast<const char*>(data), panels);
    } else {
        pack(*format, static_cast<const std::uint8_t*>(data), tensor->ne[1], tensor->ne[0], panels);
    }
}

ggml_backend_buffer_t alloc_buffer(ggml_backend_buffer_type_t type, std::size_t size) {
    ggml_backend_buffer_t buffer = ggml_backend_buft_alloc_buffer(ggml_backend_cpu_buffer_type(), size);
    if (buffer == nullptr) return nullptr;
    buffer->buft = type;
    buffer->iface.init_tensor = init_tensor;
    buffer->iface.set_tensor = set_tensor;
    buffer->iface.get_tensor = nullptr;
    buffer->iface.cpy_tensor = nullptr;
    return buffer;
}

std::size_t alloc_size(ggml_backend_buffer_type_t, const ggml_tensor* tensor) {
    const WeightFormat* format = covered(tensor);
    const std::size_t n_bytes =
        format == nullptr ? ggml_nbytes(tensor) : packed_bytes(*format, tensor->ne[1], tensor->ne[0]);
#ifdef NDEBUG
    return n_bytes;
#else
    return std::max(n_bytes, ggml_nbytes(tensor));  // ggml asserts that no buffer takes less than a file
#endif
}

ggml_backend_buffer_type_t buffer_type() {
    static ExtraBufferType extra;
    static ggml_backend_buffer_type type = {
        /* .iface   = */ {
            /* .get_name       = */ [](ggml_backend_buffer_type_t) { return "FASTPLR"; },
            /* .alloc_buffer   = */ alloc_buffer,
            /* .get_alignment  = */ [](ggml_backend_buffer_type_t) { return kAlignment; },
            /* .get_max_size   = */ nullptr,
            /* .get_alloc_size = */ alloc_size,
            /* .is_host        = */ nullptr,
        },
        /* .device  = */ ggml_backend_reg_dev_get(ggml_backend_cpu_reg(), 0),
        /* .context = */ &extra,
    };
    return &type;
}

const Variant* choose_variant() {
    int count = 0;
    const Variant* const* variants = available_variants(count);
    const char* asked = std::getenv("FASTPLR_KERNELS");
    const std::string name = asked == nullptr ? "" : asked;
    if (name == "off") return nullptr;
    if (name.empty() || name == "on") return count > 1 ? variants[0] : nullptr;
    std::string names;
    for (int i = 0; i < count; ++i) {
        if (name == variants[i]->name) return variants[i];
        names += std::string(", ") + variants[i]->name;
    }
    throw InputError("FASTPLR_KERNELS is \"" + name + "\": expected on, off" + names);
}

}  // namespace

const WeightFormat* format_of_ggml(ggml_type type) {
    switch (type) {
        case GGML_TYPE_Q8_0:
        case GGML_TYPE_F32:
        case GGML_TYPE_F16:
        case GGML_TYPE_BF16:
            return &format_of(WeightType::q8_0);
        case GGML_TYPE_Q4_0:
            return &format_of(WeightType::q4_0);
        case GGML_TYPE_Q4_1:
            return &format_of(WeightType::q4_1);
        case GGML_TYPE_Q5_0:
            return &format_of(WeightType::q5_0);
        case GGML_TYPE_Q5_1:
            return &format_of(WeightType::q5_1);
        case GGML_TYPE_IQ4_NL:
            return &format_of(WeightType::iq4_nl);
        case GGML_TYPE_Q2_K:
            return &format_of(WeightType::q2_k);
        case GGML_TYPE_Q3_K:
            return &format_of(WeightType::q3_k);
        case GGML_TYPE_Q4_K:
            return &format_of(WeightType::q4_k);
        case GGML_TYPE_Q5_K:
            return &format_of(WeightType::q5_k);
        case GGML_TYPE_Q6_K:
            return &format_of(WeightType::q6_k);
        default:
            return nullptr;
    }
}

bool may_be_rounded(std::string_view name) {
    constexpr std::string_view kNames[] = {"attn_q.",      "attn_k.",   "attn_v.", "attn_qkv.",
                                           "attn_output.", "ffn_gate.", "ffn_up.", "ffn_down."};
    return std::any_of(std::begin(kNames), std::end(kNames),
                       [&](std::string_view part) { return name.find(part) != name.npos; });
}

const Variant* chosen_variant() {
    static const Variant* const chosen = choose_variant();
    return chosen;
}

void join_ggml() {
    static const bool joined = [] {
        // ggml asks the types in turn: after AMX, which is faster, before its own repacked ones.
        std::vector<ggml_backend_buffer_type_t>& types = ggml_backend_cpu_get_extra_buffer_types();
        const auto repacked = std::find_if(types.begin(), types.end(), [](ggml_backend_buffer_type_t type) {
            return std::string(ggml_backend_buft_name(type)) == "CPU_REPACK";
        });
        types.insert(repacked, buffer_type());
        return true;
    }();
    static_cast<void>(joined);
}

bool computes(const ggml_tensor* weights) {
    return weights->buffer != nullptr && weights->buffer->buft == buffer_type();
}

LoadFor::LoadFor(Matrices matrices) : before_(loaded_for) {
    loaded_for = chosen_variant() == nullptr ? Matrices::none : matrices;
}

LoadFor::~LoadFor() { loaded_for = before_; }

}  // namespace fastplr::kernels
