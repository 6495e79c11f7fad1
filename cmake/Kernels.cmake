# The kernels (cpp/src/kernels): one source file for each instruction set, compiled for it and chosen at run time,
# whatever the rest is compiled for.
add_library(fastplr_kernels OBJECT
    cpp/src/kernels/packed_weights.cpp
    cpp/src/kernels/reference.cpp
    cpp/src/kernels/variants.cpp
)
set_target_properties(fastplr_kernels PROPERTIES POSITION_INDEPENDENT_CODE ON)
# Without contraction all variants round activations to the same codes; tiles multiply and add by intrinsics.
target_compile_options(fastplr_kernels PRIVATE -Wall -Wextra -Wshadow -ffp-contract=off)

function(add_kernels file)
    target_sources(fastplr_kernels PRIVATE cpp/src/kernels/${file})
    set_source_files_properties(cpp/src/kernels/${file} PROPERTIES COMPILE_OPTIONS "-O3;${ARGN}")
endfunction()

if(NOT MSVC AND CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64|amd64)$")
    target_compile_definitions(fastplr_kernels PRIVATE FASTPLR_KERNELS_X86)
    set(_avx2 -mavx2 -mfma -mf16c -mbmi2)
    add_kernels(avx2.cpp ${_avx2})
    add_kernels(avx_vnni.cpp ${_avx2} -mavxvnni)
    # GCC 12 warns of its own header (bug 105593).
    add_kernels(avx512_vnni.cpp ${_avx2} -Wno-maybe-uninitialized -Wno-uninitialized -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni -mprefer-vector-width=512)
elseif(NOT MSVC AND CMAKE_SYSTEM_PROCESSOR MATCHES "^(aarch64|arm64|ARM64)$")
    target_compile_definitions(fastplr_kernels PRIVATE FASTPLR_KERNELS_ARM)
    add_kernels(neon_dot.cpp -march=armv8.2-a+dotprod)
endif()
