// What the graph builders of the pinned llama.cpp demand of each architecture, read from src/models/*.cpp
// (assertions), llama_model_rope_type() in src/llama-model.cpp and llm_arch_is_recurrent() in
// src/llama-arch.cpp. To be read again when the pin moves.
#pragma once

#include <algorithm>
#include <array>
#include <string_view>

namespace fastplr {

/// Networks that are no model of text with hidden states of its own: image projectors, speech decoders,
/// draft heads.
inline constexpr std::array<std::string_view, 5> kOtherNetworks{"clip", "dflash", "eagle3",
                                                                "gemma4-assistant", "wavtokenizer-dec"};

/// Of the kind of T5, of which only the encoder is used: blocks are named "enc.blk.<n>", attention has a bias
/// for each pair of tokens.
inline constexpr std::array<std::string_view, 2> kT5{"t5", "t5encoder"};

/// Have as many key-value heads as heads: T5, and those whose graph splits a fused matrix into three equal
/// parts.
inline constexpr std::array<std::string_view, 4> kAsManyKeyHeads{"modern-bert", "neo-bert", "t5",
                                                                 "t5encoder"};

/// BERT and its descendants: attention over the whole text at once, without a cache, so never causal.
inline constexpr std::array<std::string_view, 8> kBerts{"bert",         "eurobert",      "jina-bert-v2",
                                                        "jina-bert-v3", "modern-bert",   "neo-bert",
                                                        "nomic-bert",   "nomic-bert-moe"};

/// Without attention heads.
inline constexpr std::array<std::string_view, 6> kRecurrent{"arwkv7", "mamba",      "mamba2",
                                                            "rwkv6",  "rwkv6qwen2", "rwkv7"};

/// Without rotary position embedding.
inline constexpr std::array<std::string_view, 23> kNoRope{
    "arwkv7",     "bloom",           "clip",    "glm5-next",   "gpt2",       "gptj",   "jais",
    "jamba",      "jina-bert-v2",    "kimi-k3", "kimi-linear", "mamba",      "mamba2", "mpt",
    "nemotron_h", "nemotron_h_moe",  "refact",  "rwkv6",       "rwkv6qwen2", "rwkv7",  "t5",
    "t5encoder",  "wavtokenizer-dec"};

/// Assert that the rotary dimensions are the whole head.
inline constexpr std::array<std::string_view, 63> kRopeOverWholeHead{
    "apertus",    "arcee",         "arctic",       "baichuan",       "chameleon",     "codeshell",
    "cogvlm",     "cohere2moe",    "dbrx",         "deci",           "deepseek",      "dots1",
    "dream",      "ernie4_5",      "ernie4_5-moe", "exaone",         "exaone-moe",    "exaone4",
    "falcon",     "granite",       "granite_swa",  "granitemoe",     "graniteswitch", "grok",
    "grovemoe",   "hunyuan-dense", "hunyuan-moe",  "hunyuan_vl",     "hy_v3",         "internlm2",
    "jais2",      "llada",         "llada-moe",    "llama",          "llama-embed",   "llama4",
    "maincoder",  "mellum",        "minicpm",      "mistral3",       "olmo",          "olmo2",
    "olmoe",      "orion",         "paddleocr",    "pangu-embedded", "plamo",         "pockettts",
    "qwen2",      "qwen2moe",      "qwen2vl",      "qwen3",          "qwen3moe",      "qwen3tts",
    "qwen3vl",    "qwen3vlmoe",    "rnd1",         "seed_oss",       "smallthinker",  "smollm3",
    "starcoder2", "talkie",        "xverse"};

/// Assert, or take for granted, that keys and values have the same width.
inline constexpr std::array<std::string_view, 117> kEqualKeyAndValueLength{"afmoe",
                                                                           "apertus",
                                                                           "arcee",
                                                                           "arctic",
                                                                           "baichuan",
                                                                           "bailingmoe2",
                                                                           "bert",
                                                                           "bitnet",
                                                                           "bloom",
                                                                           "chameleon",
                                                                           "chatglm",
                                                                           "codeshell",
                                                                           "cogvlm",
                                                                           "cohere2",
                                                                           "cohere2moe",
                                                                           "command-r",
                                                                           "dbrx",
                                                                           "deci",
                                                                           "deepseek",
                                                                           "deepseek4",
                                                                           "dflash",
                                                                           "dots1",
                                                                           "dream",
                                                                           "eagle3",
                                                                           "ernie4_5",
                                                                           "ernie4_5-moe",
                                                                           "eurobert",
                                                                           "exaone",
                                                                           "exaone-moe",
                                                                           "exaone4",
                                                                           "falcon",
                                                                           "gemma",
                                                                           "gemma-embedding",
                                                                           "gemma2",
                                                                           "gemma3",
                                                                           "glm4",
                                                                           "glm4moe",
                                                                           "gpt2",
                                                                           "gptneox",
                                                                           "granite",
                                                                           "granite_swa",
                                                                           "granitehybrid",
                                                                           "granitemoe",
                                                                           "graniteswitch",
                                                                           "grok",
                                                                           "grovemoe",
                                                                           "hunyuan-dense",
                                                                           "hunyuan-moe",
                                                                           "hunyuan_vl",
                                                                           "hy_v3",
                                                                           "internlm2",
                                                                           "jais",
                                                                           "jais2",
                                                                           "jina-bert-v2",
                                                                           "jina-bert-v3",
                                                                           "laguna",
                                                                           "llada",
                                                                           "llada-moe",
                                                                           "llama",
                                                                           "llama-embed",
                                                                           "llama4",
                                                                           "maincoder",
                                                                           "maple",
                                                                           "mellum",
                                                                           "minicpm",
                                                                           "minimax-01",
                                                                           "minimax-m2",
                                                                           "minimax-m3",
                                                                           "mistral3",
                                                                           "modern-bert",
                                                                           "mpt",
                                                                           "muse-glimmer",
                                                                           "nanbeige",
                                                                           "nemotron",
                                                                           "nemotron_h",
                                                                           "nemotron_h_moe",
                                                                           "neo-bert",
                                                                           "nomic-bert",
                                                                           "nomic-bert-moe",
                                                                           "olmo",
                                                                           "olmo2",
                                                                           "olmoe",
                                                                           "openelm",
                                                                           "orion",
                                                                           "paddleocr",
                                                                           "pangu-embedded",
                                                                           "phi2",
                                                                           "phi3",
                                                                           "phimoe",
                                                                           "plamo",
                                                                           "pockettts",
                                                                           "qwen",
                                                                           "qwen2",
                                                                           "qwen2moe",
                                                                           "qwen2vl",
                                                                           "qwen3",
                                                                           "qwen35",
                                                                           "qwen35moe",
                                                                           "qwen3moe",
                                                                           "qwen3next",
                                                                           "qwen3tts",
                                                                           "qwen3vl",
                                                                           "qwen3vlmoe",
                                                                           "qwen4exp",
                                                                           "refact",
                                                                           "rnd1",
                                                                           "seed_oss",
                                                                           "smallthinker",
                                                                           "smollm3",
                                                                           "spark2_5",
                                                                           "stablelm",
                                                                           "starcoder",
                                                                           "starcoder2",
                                                                           "t5",
                                                                           "t5encoder",
                                                                           "talkie",
                                                                           "xverse"};

/// Attention in every block, so no block may have 0 heads.
inline constexpr std::array<std::string_view, 90> kHasHeadsInEveryLayer{"apertus",
                                                                        "arcee",
                                                                        "arctic",
                                                                        "baichuan",
                                                                        "bert",
                                                                        "bitnet",
                                                                        "bloom",
                                                                        "chameleon",
                                                                        "codeshell",
                                                                        "cogvlm",
                                                                        "cohere2",
                                                                        "cohere2moe",
                                                                        "command-r",
                                                                        "dbrx",
                                                                        "deepseek",
                                                                        "dots1",
                                                                        "dream",
                                                                        "ernie4_5",
                                                                        "ernie4_5-moe",
                                                                        "eurobert",
                                                                        "exaone",
                                                                        "exaone-moe",
                                                                        "exaone4",
                                                                        "falcon",
                                                                        "gemma",
                                                                        "gemma-embedding",
                                                                        "gemma2",
                                                                        "gemma3",
                                                                        "glm4",
                                                                        "gpt2",
                                                                        "gptneox",
                                                                        "granite",
                                                                        "granite_swa",
                                                                        "granitemoe",
                                                                        "graniteswitch",
                                                                        "grok",
                                                                        "grovemoe",
                                                                        "hunyuan-dense",
                                                                        "hunyuan-moe",
                                                                        "hunyuan_vl",
                                                                        "hy_v3",
                                                                        "internlm2",
                                                                        "jais2",
                                                                        "jina-bert-v2",
                                                                        "jina-bert-v3",
                                                                        "llada",
                                                                        "llada-moe",
                                                                        "llama",
                                                                        "llama-embed",
                                                                        "llama4",
                                                                        "maincoder",
                                                                        "mellum",
                                                                        "minicpm",
                                                                        "mistral3",
                                                                        "modern-bert",
                                                                        "mpt",
                                                                        "nemotron",
                                                                        "neo-bert",
                                                                        "nomic-bert",
                                                                        "nomic-bert-moe",
                                                                        "olmo",
                                                                        "olmo2",
                                                                        "olmoe",
                                                                        "orion",
                                                                        "paddleocr",
                                                                        "pangu-embedded",
                                                                        "phi2",
                                                                        "phi3",
                                                                        "plamo",
                                                                        "pockettts",
                                                                        "qwen",
                                                                        "qwen2",
                                                                        "qwen2moe",
                                                                        "qwen2vl",
                                                                        "qwen3",
                                                                        "qwen3moe",
                                                                        "qwen3tts",
                                                                        "qwen3vl",
                                                                        "qwen3vlmoe",
                                                                        "rnd1",
                                                                        "seed_oss",
                                                                        "smallthinker",
                                                                        "smollm3",
                                                                        "stablelm",
                                                                        "starcoder",
                                                                        "starcoder2",
                                                                        "t5",
                                                                        "t5encoder",
                                                                        "talkie",
                                                                        "xverse"};

/// Without an output norm: the graph of src/models/bert.cpp.
inline constexpr std::array<std::string_view, 5> kEndsWithBlock{"bert", "jina-bert-v2", "jina-bert-v3",
                                                                "nomic-bert", "nomic-bert-moe"};

/// Whose graph uses the number of blocks for nothing but the loop over them, so that a model of the first few
/// blocks is the whole model up to there. tests/python/test_layer_cut.py holds every one against its uncut
/// run.
inline constexpr std::array<std::string_view, 25> kLoadsFirstBlocks{
    "bert",           "eurobert",     "falcon", "gemma",    "gemma3",      "gpt2",     "gptneox",
    "jina-bert-v2",   "jina-bert-v3", "llama",  "mistral3", "modern-bert", "neo-bert", "nomic-bert",
    "nomic-bert-moe", "olmo2",        "phi2",   "phi3",     "qwen2",       "qwen3",    "smollm3",
    "stablelm",       "starcoder2",   "t5",     "t5encoder"};

template <std::size_t n>
constexpr bool contains(const std::array<std::string_view, n>& names, std::string_view name) {
    return std::find(names.begin(), names.end(), name) != names.end();
}

}  // namespace fastplr
