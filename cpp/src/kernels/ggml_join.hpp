// How ggml comes to use the kernels: a buffer type of its CPU backend, which packs the matrices that are
// loaded into it and computes their products. (An own backend would split the graph at every product, and
// twice as many hand-overs between threads; see docs/kernels.md.)
#pragma once

#include <string_view>

#include "ggml.h"

namespace fastplr::kernels {

struct Variant;
struct WeightFormat;

/// Registers the buffer type; models that are loaded from then on use it. Safe to call often.
void join_ggml();

/// Which variant computes; nullptr where kernels are off: by `FASTPLR_KERNELS=off`, or because this processor
/// has none but the reference. `FASTPLR_KERNELS` may also name a variant ("avx2", "reference"). Throws
/// InputError for another word, or a variant that this processor cannot run.
const Variant* chosen_variant();

/// The format that matrices of a type of ggml are packed in, Q8_0 for floats; null where the kernels do not
/// multiply by it.
const WeightFormat* format_of_ggml(ggml_type type);

/// Whether the kernels multiply by this matrix of a loaded model.
bool computes(const ggml_tensor* weights);

/// Which matrices of a model the kernels take: none, the quantised ones, or those of floats too, which are
/// then rounded to 8 bits (as Q8_0).
enum class Matrices { none, quantised, floats_too };

/// Whether a matrix of floats of this name is one of attention or of a feed-forward network, which floats_too
/// rounds, as a file in Q8_0 does: routers, and what only some architectures have, it does not.
bool may_be_rounded(std::string_view name);

/// While it lives, models that this thread loads use the kernels for these matrices.
class LoadFor {
  public:
    explicit LoadFor(Matrices matrices);
    ~LoadFor();
    LoadFor(const LoadFor&) = delete;
    LoadFor& operator=(const LoadFor&) = delete;

  private:
    Matrices before_;
};

}  // namespace fastplr::kernels
