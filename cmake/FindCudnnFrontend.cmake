# The headers of cuDNN and of its header-only C++ interface, "cudnn-frontend": CudnnFrontend_FOUND,
# CudnnFrontend_INTERFACE_DIR and CudnnFrontend_CUDNN_DIR. The library is opened when first used, so it may be missing
# here; CudnnFrontend_LIBRARY_DIR is the folder beside the headers where one was found.
#
# Looked for, in this order: where CENTAVO_CUDNN_FRONTEND and CENTAVO_CUDNN_ROOT say, build/deps, the system, CUDA's
# toolkit, and the packages nvidia-cudnn-cuNN and nvidia-cudnn-frontend of the python3 on the PATH. One line gives both:
#   python3 -m pip install nvidia-cudnn-cu13 nvidia-cudnn-frontend
set(CENTAVO_CUDNN_FRONTEND "" CACHE PATH "Folder with cudnn_frontend.h, or whose include/ has it")
set(CENTAVO_CUDNN_ROOT "" CACHE PATH "Folder whose include/ has cudnn.h and whose lib/ has libcudnn")

set(cudnn_python_folders)
find_program(CudnnFrontend_PYTHON python3)
mark_as_advanced(CudnnFrontend_PYTHON)
if(CudnnFrontend_PYTHON)
  execute_process(
    COMMAND ${CudnnFrontend_PYTHON} -c "import sys; print(';'.join(p for p in sys.path if p.endswith('-packages')), end='')"
    OUTPUT_VARIABLE cudnn_python_folders ERROR_QUIET)
endif()
set(cudnn_wheels)
set(cudnn_interface_wheels)
foreach(folder IN LISTS cudnn_python_folders)
  list(APPEND cudnn_wheels ${folder}/nvidia/cudnn)
  list(APPEND cudnn_interface_wheels ${folder})  # its headers lie in include/ beside the packages
endforeach()

find_path(CudnnFrontend_INTERFACE_DIR cudnn_frontend.h
  HINTS ${CENTAVO_CUDNN_FRONTEND} ${CMAKE_SOURCE_DIR}/build/deps ${CMAKE_SOURCE_DIR}/build/deps/cudnn-frontend
  PATHS ${CUDAToolkit_INCLUDE_DIRS} ${cudnn_interface_wheels} PATH_SUFFIXES include)
find_path(CudnnFrontend_CUDNN_DIR cudnn_graph.h
  HINTS ${CENTAVO_CUDNN_ROOT} ${CMAKE_SOURCE_DIR}/build/deps ${CMAKE_SOURCE_DIR}/build/deps/cudnn
  PATHS ${CUDAToolkit_INCLUDE_DIRS} /usr/local/cuda ${cudnn_wheels}
  PATH_SUFFIXES include)
# Beside the headers that were found: two versions do not mix. Wheels have no libcudnn.so.
cmake_path(GET CudnnFrontend_CUDNN_DIR PARENT_PATH cudnn_root)
find_library(CudnnFrontend_LIBRARY NAMES cudnn libcudnn.so.9
  HINTS ${cudnn_root} ${CUDAToolkit_LIBRARY_DIR} PATH_SUFFIXES lib lib64 lib/x86_64-linux-gnu targets/x86_64-linux/lib)
set(CudnnFrontend_LIBRARY_DIR "")
if(CudnnFrontend_LIBRARY)
  cmake_path(GET CudnnFrontend_LIBRARY PARENT_PATH CudnnFrontend_LIBRARY_DIR)
endif()
mark_as_advanced(CudnnFrontend_INTERFACE_DIR CudnnFrontend_CUDNN_DIR CudnnFrontend_LIBRARY)

# The version as the header tells it.
if(CudnnFrontend_CUDNN_DIR)
  set(CudnnFrontend_VERSION "")
  foreach(part MAJOR MINOR PATCHLEVEL)
    file(STRINGS ${CudnnFrontend_CUDNN_DIR}/cudnn_version.h cudnn_line REGEX "^#define CUDNN_${part} +[0-9]+")
    string(REGEX MATCH "[0-9]+$" cudnn_number "${cudnn_line}")
    list(APPEND CudnnFrontend_VERSION ${cudnn_number})
  endforeach()
  list(JOIN CudnnFrontend_VERSION "." CudnnFrontend_VERSION)
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(CudnnFrontend REQUIRED_VARS CudnnFrontend_CUDNN_DIR CudnnFrontend_INTERFACE_DIR
                                  VERSION_VAR CudnnFrontend_VERSION)
