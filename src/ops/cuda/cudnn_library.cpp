#include "ops/cuda/cudnn_library.h"

#include <cuda_runtime_api.h>
#include <dlfcn.h>
#include <fmt/format.h>

#include "base/errors.h"

#ifdef CENTAVO_CUDNN
#include <cudnn.h>
#include <nvrtc.h>
#endif

namespace centavo {

std::string cudnn_version_text(int64_t version) { return fmt::format("{}.{}", version / 10000, version / 100 % 100); }

namespace {

using Find = std::function<void*(const char*)>;

std::string refusal_of(int64_t version, const Find& find) {
  const std::string name = "cuDNN " + cudnn_version_text(version);
  if (version < kOldestCudnn) return fmt::format("{} is older than {}", name, cudnn_version_text(kOldestCudnn));
  const auto cuda = reinterpret_cast<size_t (*)()>(find("cudnnGetCudartVersion"));
  const size_t built_for = cuda == nullptr ? 0 : cuda();
  if (built_for / 1000 == CUDART_VERSION / 1000) return {};
  return fmt::format("{} is for CUDA {} and this program for CUDA {}", name, built_for / 1000, CUDART_VERSION / 1000);
}

// cuDNN compiles attention's kernels with NVRTC and asks the loader for it by name: once open it is found, wherever it
// lies. Where there is none cuDNN says so, and is not used.
void open_nvrtc() {
  const std::string file = fmt::format("libnvrtc.so.{}", CUDART_VERSION / 1000);
  for (const std::string& candidate : library_candidates(file, {CENTAVO_CUDA_LIBRARY_DIR})) {
    if (::dlopen(candidate.c_str(), RTLD_NOW | RTLD_LOCAL) != nullptr) return;
  }
}

}  // namespace

std::vector<std::string> cudnn_candidates() {
  return library_candidates("libcudnn.so.9", {CENTAVO_CUDNN_LIBRARY_DIR, CENTAVO_CUDA_LIBRARY_DIR});
}

OpenLibrary find_cudnn(const std::vector<std::string>& candidates) {
  return open_library({.name = "cuDNN", .version_of = "cudnnGetVersion", .refusal = refusal_of}, candidates);
}

bool built_with_cudnn() {
#ifdef CENTAVO_CUDNN
  return true;
#else
  return false;
#endif
}

const OpenLibrary& cudnn_library() {
  static const OpenLibrary library = [] {
    OpenLibrary found;
    found.refusal = "built without cuDNN";
    if (built_with_cudnn()) found = find_cudnn(cudnn_candidates());
    if (found.handle != nullptr) open_nvrtc();
    return found;
  }();
  return library;
}

}  // namespace centavo

#ifdef CENTAVO_CUDNN

namespace {

// A function of the library with the type of the one it stands for.
template <class Function>
Function* in_library(const char* name) {
  const centavo::OpenLibrary& library = centavo::cudnn_library();
  CHECK(library.handle != nullptr, "{} is called without cuDNN", name);
  void* const function = library.find(name);
  if (function == nullptr) throw centavo::DeviceError(fmt::format("{} has no function {}", library.path, name));
  return reinterpret_cast<Function*>(function);
}

}  // namespace

// Hidden: other libraries of the process find the library's own functions.
#pragma GCC visibility push(hidden)

extern "C" {

size_t cudnnGetVersion() {
  static const auto function = in_library<decltype(cudnnGetVersion)>("cudnnGetVersion");
  return function();
}

const char* cudnnGetErrorString(cudnnStatus_t status) {
  static const auto function = in_library<decltype(cudnnGetErrorString)>("cudnnGetErrorString");
  return function(status);
}

void cudnnGetLastErrorString(char* message, size_t max_size) {
  static const auto function = in_library<decltype(cudnnGetLastErrorString)>("cudnnGetLastErrorString");
  function(message, max_size);
}

cudnnStatus_t cudnnCreate(cudnnHandle_t* handle) {
  static const auto function = in_library<decltype(cudnnCreate)>("cudnnCreate");
  return function(handle);
}

cudnnStatus_t cudnnDestroy(cudnnHandle_t handle) {
  static const auto function = in_library<decltype(cudnnDestroy)>("cudnnDestroy");
  return function(handle);
}

cudnnStatus_t cudnnSetStream(cudnnHandle_t handle, cudaStream_t stream) {
  static const auto function = in_library<decltype(cudnnSetStream)>("cudnnSetStream");
  return function(handle, stream);
}

cudnnStatus_t cudnnGetStream(cudnnHandle_t handle, cudaStream_t* stream) {
  static const auto function = in_library<decltype(cudnnGetStream)>("cudnnGetStream");
  return function(handle, stream);
}

cudnnStatus_t cudnnBackendCreateDescriptor(cudnnBackendDescriptorType_t type, cudnnBackendDescriptor_t* descriptor) {
  static const auto function = in_library<decltype(cudnnBackendCreateDescriptor)>("cudnnBackendCreateDescriptor");
  return function(type, descriptor);
}

cudnnStatus_t cudnnBackendDestroyDescriptor(cudnnBackendDescriptor_t descriptor) {
  static const auto function = in_library<decltype(cudnnBackendDestroyDescriptor)>("cudnnBackendDestroyDescriptor");
  return function(descriptor);
}

cudnnStatus_t cudnnBackendFinalize(cudnnBackendDescriptor_t descriptor) {
  static const auto function = in_library<decltype(cudnnBackendFinalize)>("cudnnBackendFinalize");
  return function(descriptor);
}

cudnnStatus_t cudnnBackendSetAttribute(cudnnBackendDescriptor_t descriptor, cudnnBackendAttributeName_t name,
                                       cudnnBackendAttributeType_t type, int64_t count, const void* elements) {
  static const auto function = in_library<decltype(cudnnBackendSetAttribute)>("cudnnBackendSetAttribute");
  return function(descriptor, name, type, count, elements);
}

cudnnStatus_t cudnnBackendGetAttribute(cudnnBackendDescriptor_t const descriptor, cudnnBackendAttributeName_t name,
                                       cudnnBackendAttributeType_t type, int64_t requested, int64_t* count,
                                       void* elements) {
  static const auto function = in_library<decltype(cudnnBackendGetAttribute)>("cudnnBackendGetAttribute");
  return function(descriptor, name, type, requested, count, elements);
}

cudnnStatus_t cudnnBackendExecute(cudnnHandle_t handle, cudnnBackendDescriptor_t plan,
                                  cudnnBackendDescriptor_t variant) {
  static const auto function = in_library<decltype(cudnnBackendExecute)>("cudnnBackendExecute");
  return function(handle, plan, variant);
}

// cuDNN's interface names NVRTC for engines of its own, which attention never takes; they are told that it fails.

nvrtcResult nvrtcCreateProgram(nvrtcProgram*, const char*, const char*, int, const char* const*, const char* const*) {
  return NVRTC_ERROR_INTERNAL_ERROR;
}
nvrtcResult nvrtcCompileProgram(nvrtcProgram, int, const char* const*) { return NVRTC_ERROR_INTERNAL_ERROR; }
nvrtcResult nvrtcDestroyProgram(nvrtcProgram*) { return NVRTC_ERROR_INTERNAL_ERROR; }
nvrtcResult nvrtcGetCUBIN(nvrtcProgram, char*) { return NVRTC_ERROR_INTERNAL_ERROR; }
nvrtcResult nvrtcGetCUBINSize(nvrtcProgram, size_t*) { return NVRTC_ERROR_INTERNAL_ERROR; }
nvrtcResult nvrtcGetProgramLog(nvrtcProgram, char*) { return NVRTC_ERROR_INTERNAL_ERROR; }
nvrtcResult nvrtcGetProgramLogSize(nvrtcProgram, size_t*) { return NVRTC_ERROR_INTERNAL_ERROR; }

}  // extern "C"

#pragma GCC visibility pop

#endif
