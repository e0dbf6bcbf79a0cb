// A library that knows nothing but its version; tests open it in the place of one of NVIDIA's.

#include <cstddef>

extern "C" {

size_t cudnnGetVersion();
size_t cudnnGetCudartVersion();
size_t cublasLtGetVersion();

size_t cudnnGetVersion() { return FAKE_VERSION; }
size_t cudnnGetCudartVersion() { return FAKE_CUDA_VERSION; }
size_t cublasLtGetVersion() { return FAKE_VERSION; }
}
