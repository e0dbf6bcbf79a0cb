# Finds the CUDA toolkit; sets CENTAVO_CUDA_LIBRARIES, what kernels are linked with. cuBLASLt and cuDNN are opened when
# first used (src/ops/cuda/*_library.cpp), their headers alone are needed here.
find_program(CENTAVO_NVCC nvcc HINTS $ENV{CUDACXX} $ENV{CUDA_PATH}/bin $ENV{CUDA_HOME}/bin /usr/local/cuda/bin
             DOC "CUDA's compiler")
if(CENTAVO_NVCC)
  set(CMAKE_CUDA_COMPILER ${CENTAVO_NVCC} CACHE FILEPATH "CUDA's compiler")
  if(NOT DEFINED CMAKE_CUDA_ARCHITECTURES)
    find_program(NVIDIA_SMI nvidia-smi)
    set(CMAKE_CUDA_ARCHITECTURES 90a)
    if(NVIDIA_SMI)
      execute_process(COMMAND ${NVIDIA_SMI} --query-gpu=compute_cap --format=csv,noheader OUTPUT_VARIABLE capability
                      ERROR_QUIET OUTPUT_STRIP_TRAILING_WHITESPACE)
      if(capability MATCHES "^([0-9]+)\\.([0-9])")
        set(CMAKE_CUDA_ARCHITECTURES ${CMAKE_MATCH_1}${CMAKE_MATCH_2})
      endif()
    endif()
    set(CMAKE_CUDA_ARCHITECTURES ${CMAKE_CUDA_ARCHITECTURES} CACHE STRING "GPU architectures to build for")
  endif()
  # The kernels for tensor cores of Hopper exist in 90a alone, and what is built for 9.0 runs nowhere else anyway.
  list(TRANSFORM CMAKE_CUDA_ARCHITECTURES REPLACE "^90(-real|-virtual)?$" "90a\\1")
  enable_language(CUDA)
  # CMake 3.25 does not know how nvcc 13 is told.
  set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION "-std=c++20")
  set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION "-std=c++20")
  find_package(CUDAToolkit REQUIRED)
  set(CENTAVO_CUDA_LIBRARIES CUDA::cudart_static)
  # Without cuDNN attention runs centavo's own kernels.
  list(APPEND CMAKE_MODULE_PATH ${CMAKE_SOURCE_DIR}/cmake)
  find_package(CudnnFrontend)
else()
  message(FATAL_ERROR "no nvcc is found; install the CUDA toolkit or set CUDA_PATH, or configure with -DCENTAVO_CUDA=OFF")
endif()
