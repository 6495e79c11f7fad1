// Where quantised activations of some rows lie, one array behind another: in the work buffer of a product, or
// in the memory of the tensor whose values they are, which is larger.
#pragma once

#include "variant.hpp"

namespace fastplr::kernels {

class ActivationLayout {
  public:
    ActivationLayout(const WeightFormat& format, std::int64_t n_rows, std::int64_t n_inputs)
        : n_inputs_(n_inputs), n_units_(n_inputs / kUnit), n_groups_(n_units_ * format.n_groups) {
        const auto rows = static_cast<std::size_t>(n_rows);
        const auto groups = static_cast<std::size_t>(n_groups_);
        scales_ = aligned(rows * static_cast<std::size_t>(n_inputs));
        offsets_ = scales_ + aligned(rows * static_cast<std::size_t>(n_units_) * sizeof(float));
        sums_ = offsets_ + aligned(rows * groups * sizeof(std::int32_t));
        size_ = sums_ + (format.mins ? aligned(rows * groups * sizeof(float)) : 0);
    }

    std::size_t size() const { return size_; }  ///< in bytes, a multiple of 64

    Activations from_row(void* base, std::int64_t row) const {
        auto* bytes = static_cast<std::uint8_t*>(base);
        return {reinterpret_cast<std::int8_t*>(bytes) + row * n_inputs_,
                reinterpret_cast<float*>(bytes + scales_) + row * n_units_,
                reinterpret_cast<std::int32_t*>(bytes + offsets_) + row * n_groups_,
                reinterpret_cast<float*>(bytes + sums_) + (size_ > sums_ ? row * n_groups_ : 0)};
    }

  private:
    static std::size_t aligned(std::size_t bytes) { return (bytes + 63) / 64 * 64; }

    std::int64_t n_inputs_, n_units_, n_groups_;
    std::size_t scales_, offsets_, sums_, size_;
};

}  // namespace fastplr::kernels
