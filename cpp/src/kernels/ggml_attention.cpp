#include "ggml_attention.hpp"

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "attention_space.hpp"
#include "ggml_join.hpp"
#include "ggml_operation.hpp"
#include "variant.hpp"

namespace fastplr::kernels {
namespace {

/// Rows (tokens times the heads that share keys) of a tile, about.
constexpr int kTileRows = 96;
constexpr int kMostTileTokens = 32;
constexpr int kFewestTileTokens = 4;

/// The keys that a token sees lie between these.
struct SeenRange {
    std::int32_t first, end;
};

/// An attention, and where things lie in its work buffer: the ranges of all tokens, then what each thread
/// works in.
struct Shape {
    explicit Shape(const ggml_tensor* op)
        : queries(op->src[0]), keys(op->src[1]), values(op->src[2]), mask(op->src[3]) {
        n_tokens = static_cast<int>(queries->ne[1]);
        n_keys = static_cast<int>(keys->ne[1]);
        n_key_heads = static_cast<int>(keys->ne[2]);
        n_shared = static_cast<int>(queries->ne[2] / keys->ne[2]);
        tile_tokens = std::clamp(kTileRows / n_shared, kFewestTileTokens, kMostTileTokens);
        ranges_bytes = aligned(static_cast<std::size_t>(n_tokens) * sizeof(SeenRange));
        const AttentionSpace space(tile_tokens * n_shared, static_cast<int>(keys->ne[0]),
                                   static_cast<int>(values->ne[0]), tile_tokens, n_keys);
        thread_bytes = static_cast<std::size_t>(space.size) * sizeof(float) + slopes_bytes();
    }

    std::size_t size(int n_threads) const {
        return ranges_bytes + thread_bytes * static_cast<std::size_t>(n_threads) + kAlignment;
    }

    std::size_t slopes_bytes() const { return aligned(static_cast<std::size_t>(n_shared) * sizeof(float)); }

    const std::uint16_t* mask_row(int token) const {
        return reinterpret_cast<const std::uint16_t*>(static_cast<const char*>(mask->data) +
                                                      static_cast<std::size_t>(token) * mask->nb[1]);
    }

    SeenRange seen(int token) const {
        if (mask == nullptr) return {0, n_keys};
        constexpr int kMany = 64;
        const std::uint16_t* row = mask_row(token);
        const auto many_masked = [&](int at) {
            unsigned others = 0;
            for (int i = at; i < at + kMany; ++i) others |= static_cast<unsigned>(row[i] ^ kMasked);
            return others == 0;
        };
        int first = 0, end = n_keys;
        while (first + kMany <= end && many_masked(first)) first += kMany;
        while (first < end && row[first] == kMasked) ++first;
        while (first + kMany <= end && many_masked(end - kMany)) end -= kMany;
        while (end > first && row[end - 1] == kMasked) --end;
        return {first, end};
    }

    const ggml_tensor *queries, *keys, *values, *mask;
    int n_tokens, n_keys, n_key_heads, n_shared, tile_tokens;
    std::size_t ranges_bytes, thread_bytes;
};

/// The tiles one after another: neighbouring tokens that see one another's last key, which those of one text
/// do.
class Tiles {
  public:
    Tiles(const Shape& shape, const SeenRange* ranges) : shape_(shape), ranges_(ranges) { find_end(); }

    int begin() const { return begin_; }
    int end() const { return end_; }

    /// To tile `number`, counted from 0 and never less than before; false behind the last one.
    bool go_to(int number) {
        for (; number_ < number && begin_ < shape_.n_tokens; ++number_) {
            begin_ = end_;
            find_end();
        }
        return begin_ < shape_.n_tokens;
    }

    SeenRange seen() const {
        SeenRange all = {shape_.n_keys, 0};
        for (int token = begin_; token < end_; ++token) {
            if (ranges_[token].first >= ranges_[token].end) continue;
            all.first = std::min(all.first, ranges_[token].first);
            all.end = std::max(all.end, ranges_[token].end);
        }
        return all.first < all.end ? all : SeenRange{0, 0};
    }

  private:
    void find_end() {
        end_ = std::min(begin_ + 1, shape_.n_tokens);
        while (end_ < shape_.n_tokens && end_ - begin_ < shape_.tile_tokens && goes_on(end_)) ++end_;
    }

    bool goes_on(int token) const {
        if (shape_.mask == nullptr) return true;
        const SeenRange& before = ranges_[token - 1];
        return before.first < before.end && shape_.mask_row(token)[before.end - 1] != kMasked;
    }

    const Shape& shape_;
    const SeenRange* ranges_;
    int number_ = 0, begin_ = 0, end_ = 0;
};

/// As in ggml: steeper for the first heads (https://arxiv.org/abs/2108.12409).
float slope_of(int head, int n_heads, float max_bias) {
    const int n_first = 1 << static_cast<int>(std::floor(std::log2(n_heads)));
    const float first = std::pow(2.0F, -max_bias / static_cast<float>(n_first));
    const float second = std::pow(2.0F, -(max_bias / 2.0F) / static_cast<float>(n_first));
    return head < n_first ? std::pow(first, static_cast<float>(head + 1))
                          : std::pow(second, static_cast<float>(2 * (head - n_first) + 1));
}

class Attention : public ggml::cpu::tensor_traits {
  public:
    bool work_size(int n_threads, const ggml_tensor* op, std::size_t& size) override {
        size = Shape(op).size(n_threads);
        return true;
    }

    bool compute_forward(ggml_compute_params* params, ggml_tensor* op) override {
        const Shape shape(op);
        char* base = begin_of_work(params);
        auto* ranges = reinterpret_cast<SeenRange*>(base);
        char* own = base + shape.ranges_bytes + shape.thread_bytes * static_cast<std::size_t>(params->ith);
        const int per_thread = (shape.n_tokens + params->nth - 1) / params->nth;
        const int last = std::min(shape.n_tokens, per_thread * (params->ith + 1));
        for (int token = per_thread * params->ith; token < last; ++token) ranges[token] = shape.seen(token);
        if (params->ith == 0) ggml_threadpool_chunk_set(params->threadpool, params->nth);
        ggml_barrier(params->threadpool);

        const int n_heads = static_cast<int>(shape.queries->ne[2]);
        const float max_bias = float_parameter(op, 1);
        auto* slopes = reinterpret_cast<float*>(own);
        AttentionTile tile{};
        tile.n_heads = shape.n_shared;
        tile.key_size = static_cast<int>(shape.keys->ne[0]);
        tile.value_size = static_cast<int>(shape.values->ne[0]);
        tile.query_token_stride = shape.queries->nb[1];
        tile.query_head_stride = shape.queries->nb[2];
        tile.key_stride = shape.keys->nb[1];
        tile.value_stride = shape.values->nb[1];
        tile.halves = shape.keys->type == GGML_TYPE_F16;
        tile.mask_stride = shape.mask == nullptr ? 0 : shape.mask->nb[1];
        tile.slopes = max_bias > 0.0F ? slopes : nullptr;
        tile.scale = float_parameter(op, 0);
        tile.out_token_stride = op->nb[2];
        tile.out_head_stride = op->nb[1];
        tile.space = reinterpret_cast<float*>(own + shape.slopes_bytes());

        Tiles tiles(shape, ranges);
        for (int item = params->ith; tiles.go_to(item / shape.n_key_heads);
             item = ggml_threadpool_chunk_add(params->threadpool, 1)) {
            const int key_head = item % shape.n_key_heads, first_head = key_head * shape.n_shared;
            const auto token = static_cast<std::size_t>(tiles.begin());
            const SeenRange seen = tiles.seen();
            tile.n_tokens = tiles.end() - tiles.begin();
            tile.first_key = seen.first;
            tile.end_key = seen.end;
            const auto of = [](const ggml_tensor* tensor, std::size_t i1, int i2) {
                return static_cast<char*>(tensor->data) + i1 * tensor->nb[1] +
                       static_cast<std::size_t>(i2) * tensor->nb[2];
            };
            tile.queries = of(shape.queries, token, first_head);
            tile.keys = of(shape.keys, 0, key_head);
            tile.values = of(shape.values, 0, key_head);
            tile.mask = shape.mask == nullptr ? nullptr : of(shape.mask, token, 0);
            tile.out = static_cast<char*>(op->data) + token * op->nb[2] +
                       static_cast<std::size_t>(first_head) * op->nb[1];
            if (max_bias > 0.0F) {
                for (int h = 0; h < shape.n_shared; ++h)
                    slopes[h] = slope_of(first_head + h, n_heads, max_bias);
            }
            chosen_variant()->attend(tile);
        }
        return true;
    }
};

}  // namespace

bool covers_attention(const ggml_tensor* op) {
    const ggml_tensor *queries = op->src[0], *keys = op->src[1], *values = op->src[2], *mask = op->src[3];
    const auto float_rows = [](const ggml_tensor* tensor) {
        return tensor->ne[0] % 16 == 0 && tensor->nb[0] == ggml_type_size(tensor->type) &&
               (tensor->type == GGML_TYPE_F32 || tensor->type == GGML_TYPE_F16);
    };
    if (!float_rows(queries) || !float_rows(keys) || !float_rows(values)) return false;
    if (queries->type != GGML_TYPE_F32 || op->type != GGML_TYPE_F32 || keys->type != values->type)
        return false;
    if (queries->ne[3] != 1 || keys->ne[3] != 1 || values->ne[3] != 1 || values->ne[2] != keys->ne[2])
        return false;
    if (queries->ne[2] % keys->ne[2] != 0 || float_parameter(op, 2) != 0.0F || op->src[4] != nullptr)
        return false;
    return mask == nullptr || (mask->type == GGML_TYPE_F16 && mask->ne[2] == 1 && mask->ne[3] == 1 &&
                               mask->nb[0] == sizeof(std::uint16_t) && mask->ne[0] >= keys->ne[1] &&
                               mask->ne[1] >= queries->ne[1]);
}

ggml::cpu::tensor_traits* attention_traits() {
    static Attention attention;
    return &attention;
}

}  // namespace fastplr::kernels
