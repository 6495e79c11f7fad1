// A variant, made of a vector type. Included by one source file for each instruction set.
#pragma once

#include "attention.hpp"
#include "rows.hpp"

namespace fastplr::kernels {
namespace {

template <typename V>
constexpr Variant variant_of(const char* name) {
    return {name,      V::kPanels, quantise<V>, unpack_panel<V>, multiply<V>,
            attend<V>, turn<V>,    add<V>,      norm<V>,         activate<V>};
}

}  // namespace
}  // namespace fastplr::kernels
