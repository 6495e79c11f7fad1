// What the content of a classifier has to satisfy, whether it comes from a fit, from an application or from a
// file.
#pragma once

#include "fastplr/classifier.hpp"

namespace fastplr {

/// Whether predicting is possible: every part has the size that follows from labels and n_features, and
/// logits can be turned into probabilities. Quick: the coefficients are not looked at.
/// \throws InputError naming the part, what it has, and what was expected.
void check_sizes(const ClassifierData& data);

/// check_sizes, and every number and text is one that may be written to a file.
/// \throws InputError naming the part and the value.
void check_consistent(const ClassifierData& data);

}  // namespace fastplr
