// Which variants this processor can run.
#include <array>
#include <cstdlib>
#include <cstring>

#include "variant.hpp"

#if defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif
#if defined(__APPLE__) && defined(__aarch64__)
#include <sys/sysctl.h>
#endif

namespace fastplr::kernels {

#ifdef FASTPLR_KERNELS_X86
const Variant& avx512_vnni_variant();
const Variant& avx_vnni_variant();
const Variant& avx2_variant();
#endif
#ifdef FASTPLR_KERNELS_ARM
const Variant& neon_dot_variant();
#endif

namespace {

struct Available {
    std::array<const Variant*, 5> variants{};
    int count = 0;

    Available() {
#ifdef FASTPLR_KERNELS_X86
        __builtin_cpu_init();
        const bool avx2 = __builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("fma") != 0 &&
                          __builtin_cpu_supports("f16c") != 0;
        const bool avx512 =
            avx2 && __builtin_cpu_supports("avx512f") != 0 && __builtin_cpu_supports("avx512bw") != 0 &&
            __builtin_cpu_supports("avx512vl") != 0 && __builtin_cpu_supports("avx512dq") != 0;
        if (avx512 && __builtin_cpu_supports("avx512vnni") != 0) add(avx512_vnni_variant());
        if (avx2 && __builtin_cpu_supports("avxvnni") != 0) add(avx_vnni_variant());
        if (avx2) add(avx2_variant());
#endif
#ifdef FASTPLR_KERNELS_ARM
        if (has_dot_products()) add(neon_dot_variant());
#endif
        add(reference_variant());
    }

    void add(const Variant& variant) { variants[static_cast<std::size_t>(count++)] = &variant; }

#ifdef FASTPLR_KERNELS_ARM
    static bool has_dot_products() {
#if defined(__linux__)
        constexpr unsigned long kDotProducts = 1UL << 20;  // HWCAP_ASIMDDP
        return (getauxval(AT_HWCAP) & kDotProducts) != 0;
#elif defined(__APPLE__)
        int has = 0;
        std::size_t size = sizeof has;
        return sysctlbyname("hw.optional.arm.FEAT_DotProd", &has, &size, nullptr, 0) == 0 && has != 0;
#else
        return false;
#endif
    }
#endif
};

}  // namespace

const Variant* const* available_variants(int& count) {
    static const Available available;
    count = available.count;
    return available.variants.data();
}

}  // namespace fastplr::kernels
