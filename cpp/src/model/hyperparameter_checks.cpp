#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <string_view>
#include <vector>

#include "model/architecture_rules.hpp"
#include "model/model_checks.hpp"
#include "model/printable.hpp"

namespace fastplr {

namespace {

constexpr std::uint64_t kMaxLayers = 512;    // LLAMA_MAX_LAYERS
constexpr std::uint64_t kMaxExperts = 1024;  // LLAMA_MAX_EXPERTS
constexpr std::uint64_t kMaxWidth = 1u << 20;
constexpr std::uint64_t kMaxHeads = 1u << 16;
constexpr std::uint64_t kMaxContext =
    1u << 28;  // llama.cpp pads contexts in uint32; the longest known are 10 million
// The cache of sliding-window layers is sized as window x sequences (at most 256) in uint32.
constexpr std::uint64_t kMaxWindow = 1u << 22;
constexpr std::uint64_t kMaxProduct = std::numeric_limits<std::int32_t>::max();
constexpr std::uint64_t kMaxPoolingType = 4;       // LLAMA_POOLING_TYPE_RANK
constexpr std::uint64_t kMaxPairedTokens = 46340;  // ggml counts rows, one a pair of tokens, in int32
// Half of the buckets are for tokens before, and of these one half for a single distance each, the others for
// distances up to 128 on a logarithmic scale: at least one of either kind, and fewer than 128 distances.
constexpr std::uint64_t kLeastBuckets = 4;
constexpr std::uint64_t kMostBuckets = 511;

/// Reads the values under '<architecture>.' with the types that llama.cpp demands.
class Hyperparameters {
  public:
    Hyperparameters(const gguf::File& file, const std::string& architecture)
        : file_(file), prefix_(architecture + ".") {}

    const gguf::File& file() const { return file_; }
    std::string key(std::string_view name) const { return prefix_ + std::string(name); }
    bool has(std::string_view name) const { return file_.has_key(key(name)); }

    /// The uint32 at `name`, checked to lie in [least, most]; `fallback` where the key is missing.
    std::uint64_t optional(std::string_view name, std::uint64_t least, std::uint64_t most,
                           std::uint64_t fallback) const {
        return has(name) ? required(name, least, most) : fallback;
    }

    std::uint64_t required(std::string_view name, std::uint64_t least, std::uint64_t most) const {
        const std::string full = key(name);
        if (!file_.has_key(full)) file_.fail("metadata " + quoted(full) + " is missing; expected an integer");
        const gguf::Scalar* scalar = file_.find_scalar(full);
        const auto* value = scalar == nullptr ? nullptr : std::get_if<std::uint32_t>(scalar);
        if (value == nullptr) file_.fail(quoted(full) + " has the wrong type; expected a uint32");
        check_range(full, *value, least, most);
        return *value;
    }

    /// One value a layer: an array of that length, or one uint32 for all layers. Empty where the key is
    /// missing.
    std::vector<std::uint64_t> per_layer(std::string_view name, std::uint64_t n_layers, std::uint64_t least,
                                         std::uint64_t most) const {
        const std::string full = key(name);
        if (!file_.has_key(full)) return {};
        const gguf::Array* array = file_.find_array(full);
        if (array == nullptr)
            return std::vector<std::uint64_t>(static_cast<std::size_t>(n_layers),
                                              required(name, least, most));
        if (array->element_type != gguf::ValueType::int32 && array->element_type != gguf::ValueType::uint32) {
            file_.fail(quoted(full) + " is an array of " + gguf::value_type_name(array->element_type) +
                       "; expected int32 or uint32");
        }
        if (array->count != n_layers) {
            file_.fail(quoted(full) + " has " + std::to_string(array->count) +
                       " values; expected one for each of " + std::to_string(n_layers) + " blocks");
        }
        std::vector<std::uint64_t> values;
        for (const std::int64_t value : gguf::read_integers(file_, full)) {
            if (value < 0)
                file_.fail(quoted(full) + " holds " + std::to_string(value) + "; expected no negative value");
            check_range(full, static_cast<std::uint64_t>(value), least, most);
            values.push_back(static_cast<std::uint64_t>(value));
        }
        return values;
    }

  private:
    void check_range(const std::string& full, std::uint64_t value, std::uint64_t least,
                     std::uint64_t most) const {
        if (value < least || value > most) {
            file_.fail(quoted(full) + " is " + std::to_string(value) + "; expected " + std::to_string(least) +
                       " to " + std::to_string(most));
        }
    }

    const gguf::File& file_;
    std::string prefix_;
};

void check_experts(const Hyperparameters& h, std::uint64_t n_layers) {
    const std::uint64_t n_experts = h.optional("expert_count", 0, kMaxExperts, 0);
    std::uint64_t most_used = 0;
    for (const std::uint64_t used : h.per_layer("expert_used_count", n_layers, 0, kMaxExperts))
        most_used = std::max(most_used, used);
    const std::uint64_t n_groups = h.optional("expert_group_count", 0, kMaxExperts, 0);
    const std::uint64_t n_used_groups = h.optional("expert_group_used_count", 0, kMaxExperts, 0);
    const auto fail = [&](const char* name, std::uint64_t value, const std::string& expected) {
        h.file().fail(quoted(h.key(name)) + " is " + std::to_string(value) + " with " +
                      std::to_string(n_experts) + " experts; expected " + expected);
    };
    if (most_used > n_experts || (n_experts > 0 && most_used == 0)) {
        fail("expert_used_count", most_used, n_experts == 0 ? "0" : "1 to " + std::to_string(n_experts));
    }
    if (n_groups > 0 && n_groups >= n_experts)
        fail("expert_group_count", n_groups, "fewer groups than experts");
    if (n_groups > 1) {
        if (n_experts % n_groups != 0)
            fail("expert_group_count", n_groups, "a divisor of the number of experts");
        if (n_used_groups == 0 || n_used_groups >= n_groups) {
            fail("expert_group_used_count", n_used_groups, "1 to " + std::to_string(n_groups - 1));
        }
    }
}

/// Heads of each layer, and the width of one head: n_embd / n_head unless the file says otherwise.
void check_heads(const Hyperparameters& h, const std::string& architecture, std::uint64_t n_layers,
                 std::uint64_t n_embd) {
    const gguf::File& file = h.file();
    if (contains(kRecurrent, architecture)) return;
    // Hybrids have layers without attention; only the architectures whose graphs are known to need heads
    // everywhere must have them.
    const std::uint64_t least_heads = contains(kHasHeadsInEveryLayer, architecture) ? 1 : 0;
    const std::vector<std::uint64_t> n_heads =
        h.per_layer("attention.head_count", n_layers, least_heads, kMaxHeads);
    if (n_heads.empty())
        file.fail("metadata " + quoted(h.key("attention.head_count")) + " is missing; expected an integer");
    std::vector<std::uint64_t> n_heads_kv =
        h.per_layer("attention.head_count_kv", n_layers, least_heads, kMaxHeads);
    if (n_heads_kv.empty()) n_heads_kv = n_heads;
    if (contains(kAsManyKeyHeads, architecture) && n_heads_kv != n_heads) {
        file.fail(quoted(h.key("attention.head_count_kv")) + " is not " +
                  quoted(h.key("attention.head_count")) + "; expected as many key-value heads as heads");
    }

    std::uint64_t most_heads = 0;
    for (std::size_t layer = 0; layer < n_heads.size(); ++layer) {
        most_heads = std::max(most_heads, n_heads[layer]);
        if (n_heads_kv[layer] > 0 && n_heads[layer] % n_heads_kv[layer] != 0) {
            file.fail("block " + std::to_string(layer) + " has " + std::to_string(n_heads[layer]) +
                      " heads and " + std::to_string(n_heads_kv[layer]) + " key-value heads (" +
                      quoted(h.key("attention.head_count_kv")) + "); expected a divisor");
        }
        most_heads = std::max(most_heads, n_heads_kv[layer]);
    }
    // llama.cpp takes the widths from the first layer's heads; where that has none, it takes them as 0.
    if (n_heads[0] == 0) return;
    const bool widths_given = h.has("attention.key_length") && h.has("attention.value_length");
    if (!widths_given && n_embd % n_heads[0] != 0) {
        file.fail(quoted(h.key("attention.head_count")) + " is " + std::to_string(n_heads[0]) +
                  ", which does not divide " + quoted(h.key("embedding_length")) + " = " +
                  std::to_string(n_embd));
    }
    const std::uint64_t width = n_embd / n_heads[0];
    const std::uint64_t key_length = h.optional("attention.key_length", 1, kMaxWidth, width);
    const std::uint64_t value_length = h.optional("attention.value_length", 1, kMaxWidth, width);
    const std::uint64_t key_length_swa = h.optional("attention.key_length_swa", 1, kMaxWidth, key_length);
    const std::uint64_t value_length_swa =
        h.optional("attention.value_length_swa", 1, kMaxWidth, value_length);
    if (std::max({key_length, value_length, key_length_swa, value_length_swa}) * most_heads > kMaxProduct) {
        file.fail("has " + std::to_string(most_heads) + " heads of width " +
                  std::to_string(std::max(key_length, value_length)) + "; expected a product of at most " +
                  std::to_string(kMaxProduct));
    }
    if (contains(kEqualKeyAndValueLength, architecture) &&
        (key_length != value_length || key_length_swa != value_length_swa)) {
        file.fail(quoted(h.key("attention.key_length")) + " is " + std::to_string(key_length) + " and " +
                  quoted(h.key("attention.value_length")) + " is " + std::to_string(value_length) +
                  "; expected equal values");
    }
    if (contains(kNoRope, architecture)) return;
    const std::uint64_t n_rot = h.optional("rope.dimension_count", 0, kMaxWidth, key_length);
    const std::uint64_t n_rot_swa = h.optional("rope.dimension_count_swa", 0, kMaxWidth, n_rot);
    if (contains(kRopeOverWholeHead, architecture) && n_rot != key_length) {
        file.fail(quoted(h.key("rope.dimension_count")) + " is " + std::to_string(n_rot) +
                  "; expected the head width " + std::to_string(key_length));
    }
    // Multi-head latent attention rotates a part of its own width. A rotation of 0 dimensions never returns.
    const bool latent = h.has("attention.kv_lora_rank");
    const std::uint64_t least = contains(kHasHeadsInEveryLayer, architecture) ? 2 : 0;
    const auto is_sound = [&](std::uint64_t n, std::uint64_t width_of_head) {
        return n >= least && n <= width_of_head && n % 2 == 0;
    };
    if (!latent && (!is_sound(n_rot, key_length) || !is_sound(n_rot_swa, key_length_swa))) {
        file.fail(quoted(h.key("rope.dimension_count")) + " is " + std::to_string(n_rot) +
                  "; expected an even number from " + std::to_string(least) + " to the head width " +
                  std::to_string(key_length));
    }
}

/// T5's graph adds a bias to each pair of tokens, looked up by their distance.
void check_relative_attention(const Hyperparameters& h) {
    h.required("attention.relative_buckets_count", kLeastBuckets, kMostBuckets);
    h.required("context_length", 1, kMaxPairedTokens);
}

/// llama.cpp builds two caches where a sliding window is set, and aborts if no layer uses the windowed one.
void check_sliding_window(const Hyperparameters& h) {
    const gguf::File& file = h.file();
    const std::string key = h.key("attention.sliding_window_pattern");
    if (h.optional("attention.sliding_window", 0, kMaxWindow, 0) == 0 || !file.has_key(key)) return;
    const gguf::Array* pattern = file.find_array(key);
    if (pattern == nullptr) {
        // Every n-th layer sees the whole context: with 1, all of them.
        if (h.required("attention.sliding_window_pattern", 0, kMaxLayers) == 1) {
            file.fail(quoted(key) + " is 1, so that no block uses the sliding window; expected at least 2");
        }
        return;
    }
    if (pattern->count > kMaxLayers) {
        file.fail(quoted(key) + " has " + std::to_string(pattern->count) +
                  " values; expected one for each block");
    }
    const std::vector<std::int64_t> windowed = gguf::read_integers(file, key);
    if (std::all_of(windowed.begin(), windowed.end(), [](std::int64_t value) { return value == 0; })) {
        file.fail(quoted(key) + " lets no block use the sliding window; expected at least one");
    }
}

/// Without a cache nothing is kept of the tokens before, which causal models are computed from piece by
/// piece.
void check_not_causal(const Hyperparameters& h) {
    const gguf::Scalar* scalar = h.file().find_scalar(h.key("attention.causal"));
    const bool* causal = scalar == nullptr ? nullptr : std::get_if<bool>(scalar);
    if (causal == nullptr || *causal) {
        const char* found = scalar == nullptr ? "missing" : causal == nullptr ? "no bool" : "true";
        h.file().fail(quoted(h.key("attention.causal")) + " is " + found +
                      "; expected false, since every token of an encoder reads the whole text");
    }
}

void check_rope(const Hyperparameters& h) {
    const gguf::File& file = h.file();
    if (const auto type = file.find_string(h.key("rope.scaling.type"))) {
        if (*type != "none" && *type != "linear" && *type != "yarn" && *type != "longrope") {
            file.fail(quoted(h.key("rope.scaling.type")) + " is " + quoted(*type) +
                      "; expected none, linear, yarn or longrope");
        }
    }
    const std::string sections_key = h.key("rope.dimension_sections");
    if (const gguf::Array* sections = file.find_array(sections_key)) {
        // Sections of 3 or 4 numbers (time, height, width, extra); the rotation divides by their sum.
        std::int64_t sum = 0;
        if (sections->count < 1 || sections->count > 4) {
            file.fail(quoted(sections_key) + " has " + std::to_string(sections->count) +
                      " values; expected 4");
        }
        for (const std::int64_t section : gguf::read_integers(file, sections_key)) {
            if (section < 0 || section > static_cast<std::int64_t>(kMaxWidth)) {
                file.fail(quoted(sections_key) + " holds " + std::to_string(section) + "; expected 0 to " +
                          std::to_string(kMaxWidth));
            }
            sum += section;
        }
        if (sum == 0)
            file.fail(quoted(sections_key) + " holds only zeros; expected at least one positive value");
    }
}

/// Epsilons, scales and bases: finite; the operators assert that epsilons are not negative.
void check_floats(const gguf::File& file, const std::string& architecture) {
    for (const gguf::MetadataEntry& entry : file.metadata) {
        if (!entry.key.starts_with(architecture + ".")) continue;
        const auto* scalar = std::get_if<gguf::Scalar>(&entry.value);
        const auto* value = scalar == nullptr ? nullptr : std::get_if<float>(scalar);
        if (value == nullptr) continue;
        if (!std::isfinite(*value))
            file.fail(quoted(entry.key) + " is " + std::to_string(*value) + "; expected a finite number");
        if (entry.key.ends_with("epsilon") && !(*value >= 0.0f && *value < 1.0f)) {
            file.fail(quoted(entry.key) + " is " + std::to_string(*value) +
                      "; expected at least 0 and less than 1");
        }
        if (entry.key.find(".rope.freq_base") != std::string::npos && !(*value > 0.0f)) {
            file.fail(quoted(entry.key) + " is " + std::to_string(*value) + "; expected a positive number");
        }
    }
}

}  // namespace

void check_hyperparameters(const gguf::File& file, const std::string& architecture) {
    const Hyperparameters h(file, architecture);
    const std::uint64_t n_layers = h.required("block_count", 1, kMaxLayers);
    const std::uint64_t n_embd = h.required("embedding_length", 1, kMaxWidth);
    h.required("context_length", 1, kMaxContext);
    h.optional("embedding_length_out", 1, kMaxWidth, n_embd);
    h.per_layer("feed_forward_length", n_layers, 0, kMaxProduct);
    // Blocks for predicting several tokens come last and do not count as layers: at least one other must
    // remain.
    h.optional("nextn_predict_layers", 0, n_layers - 1, 0);
    h.optional("pooling_type", 0, kMaxPoolingType, 0);
    check_sliding_window(h);
    h.optional("rope.scaling.original_context_length", 1, kMaxContext, 1);
    check_experts(h, n_layers);
    check_heads(h, architecture, n_layers, n_embd);
    if (contains(kBerts, architecture)) check_not_causal(h);
    if (contains(kT5, architecture)) check_relative_attention(h);
    check_rope(h);
    check_floats(file, architecture);
}

}  // namespace fastplr
