// The CPU check of `import fastplr`: which of the named features does this machine lack? Compiled without any
// architecture flag, and in a module of its own, because loading _core could already meet an unknown
// instruction.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <map>
#include <string>
#include <vector>

#if (defined(__x86_64__) || defined(__i386__)) && defined(__GNUC__)
#include <cpuid.h>
#endif
#if defined(__aarch64__) && defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

namespace {

std::map<std::string, bool> supported_features() {
    std::map<std::string, bool> features;
#if (defined(__x86_64__) || defined(__i386__)) && defined(__GNUC__)
    __builtin_cpu_init();
#define FASTPLR_FEATURE(name, builtin) features[name] = __builtin_cpu_supports(builtin) != 0
    FASTPLR_FEATURE("sse4.2", "sse4.2");
    FASTPLR_FEATURE("avx", "avx");
    FASTPLR_FEATURE("avx2", "avx2");
    FASTPLR_FEATURE("fma", "fma");
    FASTPLR_FEATURE("bmi2", "bmi2");
    FASTPLR_FEATURE("avx512f", "avx512f");
    FASTPLR_FEATURE("avx512bw", "avx512bw");
    FASTPLR_FEATURE("avx512cd", "avx512cd");
    FASTPLR_FEATURE("avx512dq", "avx512dq");
    FASTPLR_FEATURE("avx512vl", "avx512vl");
    FASTPLR_FEATURE("avx512vbmi", "avx512vbmi");
    FASTPLR_FEATURE("avx512vnni", "avx512vnni");
    FASTPLR_FEATURE("avx512bf16", "avx512bf16");
#undef FASTPLR_FEATURE
    // Names that not every compiler knows, by their bit. What needs wider registers comes with avx or
    // avx512f, for which the checks above have asked the operating system too.
    unsigned a = 0, b = 0, c = 0, d = 0;
    if (__get_cpuid(1, &a, &b, &c, &d)) {
        features["f16c"] = (c >> 29 & 1) != 0;
        features["movbe"] = (c >> 22 & 1) != 0;
    }
    if (__get_cpuid(0x80000001, &a, &b, &c, &d)) features["lzcnt"] = (c >> 5 & 1) != 0;
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d)) {
        features["bmi"] = (b >> 3 & 1) != 0;
        features["adx"] = (b >> 19 & 1) != 0;
        features["avx512ifma"] = (b >> 21 & 1) != 0;
        features["sha"] = (b >> 29 & 1) != 0;
        features["avx512vbmi2"] = (c >> 6 & 1) != 0;
        features["gfni"] = (c >> 8 & 1) != 0;
        features["vaes"] = (c >> 9 & 1) != 0;
        features["vpclmulqdq"] = (c >> 10 & 1) != 0;
        features["avx512bitalg"] = (c >> 12 & 1) != 0;
        features["avx512vpopcntdq"] = (c >> 14 & 1) != 0;
        features["amx-int8"] = (d >> 25 & 1) != 0;
    }
    if (__get_cpuid_count(7, 1, &a, &b, &c, &d)) features["avxvnni"] = (a >> 4 & 1) != 0;
#elif defined(__aarch64__) && defined(__linux__)
    const unsigned long hwcap = getauxval(AT_HWCAP);
    const unsigned long hwcap2 = getauxval(AT_HWCAP2);
    features["asimddp"] = (hwcap & HWCAP_ASIMDDP) != 0;
    features["sve"] = (hwcap & HWCAP_SVE) != 0;
    // HWCAP2_SVE2, _I8MM and _BF16, absent from older headers
    features["sve2"] = (hwcap2 & (1UL << 1)) != 0;
    features["i8mm"] = (hwcap2 & (1UL << 13)) != 0;
    features["bf16"] = (hwcap2 & (1UL << 14)) != 0;
#endif
    return features;
}

}  // namespace

PYBIND11_MODULE(_cpu, m) {
    m.doc() = "Which CPU features this build needs, and which of them this machine lacks.";
    m.attr("required") = pybind11::cast(std::vector<std::string>{FASTPLR_CPU_FEATURES});
    m.def(
        "missing",
        [](const std::vector<std::string>& required) {
            const auto features = supported_features();
            std::vector<std::string> missing;
            for (const std::string& name : required) {
                const auto found = features.find(name);
                // On a platform where features cannot be asked for, nothing is held to be missing.
                if (!features.empty() && (found == features.end() || !found->second)) missing.push_back(name);
            }
            return missing;
        },
        pybind11::arg("required"), "The features among `required` that this machine does not have.");
}
