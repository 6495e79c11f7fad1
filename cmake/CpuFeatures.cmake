# Which CPU flags ggml was given, and which features a machine must therefore have. The flags go to our own code too;
# the features are recorded in the wheel and checked by `import fastplr` before the extension is loaded.
get_target_property(FASTPLR_CPU_FLAGS ggml-cpu COMPILE_OPTIONS)
list(FILTER FASTPLR_CPU_FLAGS INCLUDE REGEX "^(-m|/arch)")

set(FASTPLR_CPU_FEATURES "")
if(NOT MSVC)
    execute_process(
        COMMAND "${CMAKE_CXX_COMPILER}" ${FASTPLR_CPU_FLAGS} -dM -E -x c++ -
        INPUT_FILE /dev/null OUTPUT_VARIABLE _macros)
    # "compiler macro = name that fastplr._cpu knows"
    foreach(_pair
            __SSE4_2__=sse4.2 __AVX__=avx __AVX2__=avx2 __FMA__=fma __BMI2__=bmi2 __F16C__=f16c
            __AVX512F__=avx512f __AVX512BW__=avx512bw __AVX512CD__=avx512cd __AVX512DQ__=avx512dq
            __AVX512VL__=avx512vl __AVX512VBMI__=avx512vbmi __AVX512VNNI__=avx512vnni
            __AVX512BF16__=avx512bf16 __AVXVNNI__=avxvnni __AMX_INT8__=amx-int8
            __AVX512VBMI2__=avx512vbmi2 __AVX512IFMA__=avx512ifma __AVX512BITALG__=avx512bitalg
            __AVX512VPOPCNTDQ__=avx512vpopcntdq __GFNI__=gfni __VAES__=vaes __VPCLMULQDQ__=vpclmulqdq
            __BMI__=bmi __LZCNT__=lzcnt __MOVBE__=movbe __ADX__=adx __SHA__=sha
            __ARM_FEATURE_DOTPROD=asimddp __ARM_FEATURE_MATMUL_INT8=i8mm __ARM_FEATURE_SVE=sve
            __ARM_FEATURE_SVE2=sve2 __ARM_FEATURE_BF16=bf16)
        string(REPLACE "=" ";" _pair "${_pair}")
        list(GET _pair 0 _macro)
        list(GET _pair 1 _feature)
        if(_macros MATCHES "#define ${_macro} 1")
            list(APPEND FASTPLR_CPU_FEATURES "${_feature}")
        endif()
    endforeach()
endif()
message(STATUS "CPU features needed by this build: ${FASTPLR_CPU_FEATURES}")
