#include "ggml_rope.hpp"

#include <cmath>
#include <cstdint>
#include <cstring>

#include "ggml_join.hpp"
#include "ggml_operation.hpp"
#include "variant.hpp"

namespace fastplr::kernels {
namespace {

// Parameters of the operation, as in ggml.
constexpr int kTurned = 1, kMode = 2, kBase = 5, kScale = 6, kYarn = 7, kFactor = 8, kOffset = 15;

/// Cosines and sines of the angles at one position, each n_turned long, as Variant::turn wants them.
struct Angles {
    std::int32_t position;
    float* cosines;
    float* sines;
};

/// Texts of a batch begin at the same positions: a thread keeps the angles of so many, each in its place.
constexpr std::int32_t kKept = 64;

class Rope : public ggml::cpu::tensor_traits {
  public:
    bool work_size(int n_threads, const ggml_tensor* op, std::size_t& size) override {
        size = kKept * angle_bytes(op) * static_cast<std::size_t>(n_threads) + kAlignment;
        return true;
    }

    bool compute_forward(ggml_compute_params* params, ggml_tensor* op) override {
        const ggml_tensor* x = op->src[0];
        const auto* positions = static_cast<const std::int32_t*>(op->src[1]->data);
        const int n_turned = op->op_params[kTurned];
        const bool halves = op->op_params[kMode] == GGML_ROPE_TYPE_NEOX;
        Angles kept[kKept];
        for (std::int32_t i = 0; i < kKept; ++i) {
            const std::size_t place = static_cast<std::size_t>(params->ith * kKept + i) * angle_bytes(op);
            auto* floats = reinterpret_cast<float*>(begin_of_work(params) + place);
            kept[i] = {-1, floats, floats + n_turned};
        }
        const std::int64_t n_tokens = op->ne[2];
        const std::int64_t per_thread = (n_tokens + params->nth - 1) / params->nth;
        const std::int64_t first = per_thread * params->ith;
        for (std::int64_t token = first; token < first + per_thread && token < n_tokens; ++token) {
            const std::int32_t position = positions[token];
            Angles& angles = kept[position & (kKept - 1)];
            if (angles.position != position || position < 0) compute_angles(op, position, angles);
            for (std::int64_t head = 0; head < op->ne[1]; ++head) {
                const auto at = [&](const ggml_tensor* tensor) {
                    return reinterpret_cast<float*>(static_cast<char*>(tensor->data) +
                                                    static_cast<std::size_t>(token) * tensor->nb[2] +
                                                    static_cast<std::size_t>(head) * tensor->nb[1]);
                };
                const float* from = at(x);
                float* to = at(op);
                chosen_variant()->turn(from, angles.cosines, angles.sines, n_turned, halves, to);
                if (from != to && op->ne[0] > n_turned) {
                    std::memcpy(to + n_turned, from + n_turned,
                                static_cast<std::size_t>(op->ne[0] - n_turned) * sizeof(float));
                }
            }
        }
        return true;
    }

  private:
    static std::size_t angle_bytes(const ggml_tensor* op) {
        return aligned(2 * static_cast<std::size_t>(op->op_params[kTurned]) * sizeof(float));
    }

    static void compute_angles(const ggml_tensor* op, std::int32_t position, Angles& angles) {
        const int n_turned = op->op_params[kTurned];
        const ggml_tensor* factors = op->src[2];
        const bool halves = op->op_params[kMode] == GGML_ROPE_TYPE_NEOX;
        const float step = std::pow(float_parameter(op, kBase), -2.0F / static_cast<float>(n_turned));
        const float scale = float_parameter(op, kScale), size = float_parameter(op, kFactor);
        angles.position = position;
        float angle = static_cast<float>(position);
        for (int i = 0; i < n_turned / 2; ++i, angle *= step) {
            const float factor = factors == nullptr ? 1.0F : static_cast<const float*>(factors->data)[i];
            const float at = scale * (angle / factor);
            const float c = std::cos(at) * size, s = std::sin(at) * size;
            if (halves) {
                angles.cosines[i] = c;
                angles.sines[i] = s;
            } else {
                angles.cosines[2 * i] = angles.cosines[2 * i + 1] = c;
                angles.sines[2 * i] = -s;
                angles.sines[2 * i + 1] = s;
            }
        }
    }
};

}  // namespace

bool covers_rope(const ggml_tensor* op) {
    const ggml_tensor* x = op->src[0];
    const std::int32_t mode = op->op_params[kMode], n_turned = op->op_params[kTurned];
    if (mode != GGML_ROPE_TYPE_NORMAL && mode != GGML_ROPE_TYPE_NEOX) return false;
    if (n_turned <= 0 || n_turned % 32 != 0 || n_turned > op->ne[0] || op->op_params[kOffset] != 0)
        return false;
    if (float_parameter(op, kYarn) != 0.0F || op->ne[3] != 1) return false;
    const ggml_tensor* factors = op->src[2];
    if (factors != nullptr && (factors->type != GGML_TYPE_F32 || factors->ne[0] < n_turned / 2)) return false;
    return x->type == GGML_TYPE_F32 && op->type == GGML_TYPE_F32 && x->nb[0] == sizeof(float) &&
           op->nb[0] == sizeof(float);
}

ggml::cpu::tensor_traits* rope_traits() {
    static Rope rope;
    return &rope;
}

}  // namespace fastplr::kernels
