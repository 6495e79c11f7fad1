# Eigen 3.4: a system package, or the headers of the PyPI package cmeel-eigen (a build requirement of the wheel).
find_package(Eigen3 3.4 QUIET NO_MODULE)
if(NOT TARGET Eigen3::Eigen)
    execute_process(
        COMMAND "${Python_EXECUTABLE}" -c
            "import pathlib, sys\nfor p in sys.path:\n    d = pathlib.Path(p) / 'cmeel.prefix/include/eigen3'\n    if (d / 'Eigen/Core').is_file():\n        print(d.as_posix()); break"
        OUTPUT_VARIABLE _eigen OUTPUT_STRIP_TRAILING_WHITESPACE)
    if(NOT _eigen)
        message(FATAL_ERROR "Eigen 3.4 not found: install a system package (Debian: libeigen3-dev) or "
            "'pip install cmeel-eigen' for ${Python_EXECUTABLE}")
    endif()
    add_library(Eigen3::Eigen INTERFACE IMPORTED)
    target_include_directories(Eigen3::Eigen INTERFACE "${_eigen}")
endif()
