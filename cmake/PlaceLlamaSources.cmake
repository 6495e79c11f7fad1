# Places llama.cpp's pinned sources under third_party/llama.cpp/ where they are missing (see place_sources.py there).
set(_llama_dir "${CMAKE_CURRENT_SOURCE_DIR}/third_party/llama.cpp")
execute_process(
    COMMAND "${Python_EXECUTABLE}" "${_llama_dir}/place_sources.py"
    RESULT_VARIABLE _placed)
if(NOT _placed EQUAL 0)
    message(FATAL_ERROR "llama.cpp's sources could not be placed (see the message above)")
endif()
file(GLOB _patches CONFIGURE_DEPENDS "${_llama_dir}/patches/*.patch")
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS
    "${_llama_dir}/pin.json" "${_llama_dir}/place_sources.py" ${_patches})
file(READ "${_llama_dir}/pin.json" _pin)
string(JSON FASTPLR_LLAMA_CPP_COMMIT GET "${_pin}" commit)
# Which sources these are: the stamp names the source distribution and the digest of every carried patch.
file(SHA256 "${_llama_dir}/.placed" FASTPLR_LLAMA_CPP_SOURCES)
