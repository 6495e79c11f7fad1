// A classifier as Python hands it over.
#pragma once

#include <pybind11/pybind11.h>

#include "fastplr/classifier.hpp"

namespace fastplr_bindings {

/// Of the dict that fastplr.classifier_file.to_native() makes. Throws InputError where parts do not fit.
fastplr::ClassifierData classifier_from_dict(const pybind11::dict& dict);

}  // namespace fastplr_bindings
