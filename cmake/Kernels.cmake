# The kernels (cpp/src/kernels): one source file for each instruction set, compiled for it and chosen at run time,
# whatever the rest is compiled for.
set(_kernels packed_weights.cpp reference.cpp variants.cpp)
set(_kernels_for)

# An instruction set's file, and the options that it is compiled with.
function(add_kernels file)
    set(_kernels ${_kernels} ${file} PARENT_SCOPE)
    set_source_files_properties(cpp/src/kernels/${file} PROPERTIES COMPILE_OPTIONS "-O3;${ARGN}")
endfunction()

if(NOT MSVC AND CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$")
    set(_kernels_for FASTPLR_KERNELS_X86)
    set(_avx2 -mavx2 -mfma -mf16c -mbmi2)
    add_kernels(avx2.cpp ${_avx2})
    add_kernels(avx_vnni.cpp ${_avx2} -mavxvnni)
    # GCC 12 warns of its own header (bug 105593).
    add_kernels(avx512_vnni.cpp ${_avx2} -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni
        -mprefer-vector-width=512 -Wno-maybe-uninitialized -Wno-uninitialized)
elseif(NOT MSVC AND CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm64|ARM64)$")
    set(_kernels_for FASTPLR_KERNELS_ARM)
    add_kernels(neon_dot.cpp -march=armv8.2-a+dotprod)
endif()
list(TRANSFORM _kernels PREPEND ${PROJECT_SOURCE_DIR}/cpp/src/kernels/)

function(fastplr_kernels_library name)
    add_library(${name} OBJECT ${_kernels})
    set_target_properties(${name} PROPERTIES POSITION_INDEPENDENT_CODE ON)
    # Without contraction all variants round activations to the same codes; tiles multiply and add by intrinsics.
    target_compile_options(${name} PRIVATE -Wall -Wextra -Wshadow -ffp-contract=off)
    target_compile_definitions(${name} PRIVATE ${_kernels_for})
endfunction()

fastplr_kernels_library(fastplr_kernels)
if(FASTPLR_BUILD_TESTS AND NOT MSVC)
    # For tests/cpp: what a test of the plain build would not see.
    fastplr_kernels_library(fastplr_kernels_sanitised)
    target_compile_options(fastplr_kernels_sanitised PRIVATE -fsanitize=address,undefined -fno-sanitize-recover=all)
    set_target_properties(fastplr_kernels_sanitised PROPERTIES EXCLUDE_FROM_ALL ON)
endif()
