// What the codes of IQ4_NL stand for.
#pragma once

#include <cstdint>

namespace fastplr::kernels {

constexpr std::int8_t kNonlinear[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                        1,    13,   25,  38,  53,  69,  89,  113};

}  // namespace fastplr::kernels
