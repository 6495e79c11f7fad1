# The same program once more for other values of constants that fastplr's patches put into ggml's CPU backend. Of the
# backend only the two files that read the constants are compiled again, from copies; a program that is linked with these
# objects takes nothing of the same name from the library.
set(_cpu "${PROJECT_SOURCE_DIR}/third_party/llama.cpp/ggml/src/ggml-cpu")
set(_variants "${CMAKE_CURRENT_BINARY_DIR}/variants")

# A program libllama-embedding-NAME with these objects of the CPU backend; FOLDER is where their headers are.
function(libllama_program name folder)
    add_library(ggml-cpu-${name} OBJECT ${ARGN})
    foreach(property COMPILE_DEFINITIONS COMPILE_OPTIONS COMPILE_FEATURES)
        set_property(TARGET ggml-cpu-${name} PROPERTY ${property} "$<TARGET_PROPERTY:ggml-cpu,${property}>")
    endforeach()
    target_include_directories(ggml-cpu-${name} PRIVATE "${folder}" "$<TARGET_PROPERTY:ggml-cpu,INCLUDE_DIRECTORIES>")
    set_target_properties(ggml-cpu-${name} PROPERTIES CXX_STANDARD 17)  # as llama.cpp's own
    add_executable(libllama-embedding-${name} libllama_embedding.cpp $<TARGET_OBJECTS:ggml-cpu-${name}>)
    target_link_libraries(libllama-embedding-${name} PRIVATE llama ggml)
    target_include_directories(libllama-embedding-${name} SYSTEM PRIVATE
        ${PROJECT_SOURCE_DIR}/third_party/llama.cpp/include ${PROJECT_SOURCE_DIR}/third_party/llama.cpp/ggml/include)
endfunction()

# libllama_variant(NAME CONSTANT VALUE [CONSTANT VALUE ...]): a program libllama-embedding-NAME.
function(libllama_variant name)
    set(folder "${_variants}/${name}")
    file(GLOB headers "${_cpu}/*.h")
    foreach(source IN LISTS headers ITEMS "${_cpu}/ops.cpp" "${_cpu}/ggml-cpu.c")
        set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS "${source}")
        file(READ "${source}" text)
        set(constants ${ARGN})
        while(constants)
            list(POP_FRONT constants constant value)
            string(REGEX REPLACE "(#define ${constant} +)[0-9]+" "\\1${value}" changed "${text}")
            if(NOT changed STREQUAL text)
                list(APPEND found ${constant})
            endif()
            set(text "${changed}")
        endwhile()
        get_filename_component(file "${source}" NAME)
        file(CONFIGURE OUTPUT "${folder}/${file}" CONTENT "${text}" @ONLY)
    endforeach()
    set(constants ${ARGN})
    while(constants)
        list(POP_FRONT constants constant value)
        if(NOT constant IN_LIST found)
            message(FATAL_ERROR "variant ${name}: no #define ${constant} with another value than ${value} in ${_cpu}")
        endif()
    endwhile()
    libllama_program(${name} "${folder}" "${folder}/ops.cpp" "${folder}/ggml-cpu.c")
endfunction()

# Side of the tiles of flash attention (0004-attention-skips-masked-tiles); 32 is built already, 64 is llama.cpp's own.
foreach(side 16 64)
    libllama_variant(tile-${side} GGML_FA_TILE_Q ${side} GGML_FA_TILE_KV ${side})
endforeach()

# llama.cpp's own attention (no other patch touches ops.cpp), in tiles of 64, with fastplr's barrier.
set(_stock "${CMAKE_CURRENT_BINARY_DIR}/stock/llama.cpp/ggml/src/ggml-cpu")
set_source_files_properties("${_stock}/ops.cpp" PROPERTIES GENERATED ON)
libllama_program(unskipped "${_stock}" "${_stock}/ops.cpp" "${_variants}/tile-64/ggml-cpu.c")
add_dependencies(ggml-cpu-unskipped libllama-stock)

# Pauses before a thread that waits sleeps (0001-barrier-sleeps); 2048 is built already, the last one never sleeps.
foreach(spins 0 256 16384 2147483647)
    libllama_variant(spins-${spins} GGML_BARRIER_SPINS ${spins})
endforeach()
