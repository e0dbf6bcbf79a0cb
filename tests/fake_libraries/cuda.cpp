// Stands for the driver's library (libcuda.so.1) in tests: it starts, and supports CUDA 12.4.

#include <cstring>

#pragma GCC diagnostic ignored "-Wmissing-declarations"

extern "C" {

int cuDriverGetVersion(int* version) {
  *version = 12040;
  return 0;
}

int cuInit(unsigned) { return 0; }

int cuGetProcAddress_v2(const char* name, void** function, int, unsigned long long, int*) {
  *function = nullptr;
  if (std::strcmp(name, "cuDriverGetVersion") == 0) *function = reinterpret_cast<void*>(cuDriverGetVersion);
  if (std::strcmp(name, "cuInit") == 0) *function = reinterpret_cast<void*>(cuInit);
  return *function == nullptr ? 500 : 0;  // CUDA_ERROR_NOT_FOUND
}

int cuGetProcAddress(const char* name, void** function, int version, unsigned long long flags) {
  return cuGetProcAddress_v2(name, function, version, flags, nullptr);
}
}
