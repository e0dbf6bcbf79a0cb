#include "ops/cuda/cublas_lt_library.h"

#include <cublasLt.h>
#include <fmt/format.h>

#include "base/errors.h"

namespace centavo {
namespace {

constexpr int64_t kBuiltFor = CUBLAS_VERSION;

std::string refusal_of(int64_t version) {
  if (version / 10000 == kBuiltFor / 10000 && version / 100 >= kBuiltFor / 100) return {};
  return fmt::format("cuBLASLt is {} and this program was built for {}", cublas_version_text(version),
                     cublas_version_text(kBuiltFor));
}

// A function of the library with the type of the one it stands for.
template <class Function>
Function* in_library(const char* name) {
  const OpenLibrary& library = cublas_lt_library();
  require_cublas_lt(library);
  void* const function = library.find(name);
  if (function == nullptr) {
    throw DeviceError(
        fmt::format("{} has no function {}; install cuBLAS of CUDA {}", library.path, name, CUBLAS_VER_MAJOR));
  }
  return reinterpret_cast<Function*>(function);
}

}  // namespace

std::string cublas_version_text(int64_t version) { return fmt::format("{}.{}", version / 10000, version / 100 % 100); }

std::vector<std::string> cublas_lt_candidates() {
  return library_candidates(fmt::format("libcublasLt.so.{}", CUBLAS_VER_MAJOR), {CENTAVO_CUDA_LIBRARY_DIR});
}

OpenLibrary find_cublas_lt(const std::vector<std::string>& candidates) {
  return open_library({.name = "cuBLASLt",
                       .version_of = "cublasLtGetVersion",
                       .refusal = [](int64_t version, const auto&) { return refusal_of(version); }},
                      candidates);
}

const OpenLibrary& cublas_lt_library() {
  static const OpenLibrary library = find_cublas_lt(cublas_lt_candidates());
  return library;
}

void require_cublas_lt(const OpenLibrary& library) {
  if (library.handle != nullptr) return;
  throw DeviceError(fmt::format("{}; install cuBLAS {} or a newer one of CUDA {}, or use device = \"cpu\"",
                                library.refusal, cublas_version_text(kBuiltFor), CUBLAS_VER_MAJOR));
}

}  // namespace centavo

using centavo::in_library;

// Hidden: other libraries of the process find the library's own functions.
#pragma GCC visibility push(hidden)

extern "C" {

size_t cublasLtGetVersion() {
  static const auto function = in_library<decltype(cublasLtGetVersion)>("cublasLtGetVersion");
  return function();
}

const char* cublasLtGetStatusString(cublasStatus_t status) {
  static const auto function = in_library<decltype(cublasLtGetStatusString)>("cublasLtGetStatusString");
  return function(status);
}

cublasStatus_t cublasLtCreate(cublasLtHandle_t* handle) {
  static const auto function = in_library<decltype(cublasLtCreate)>("cublasLtCreate");
  return function(handle);
}

cublasStatus_t cublasLtDestroy(cublasLtHandle_t handle) {
  static const auto function = in_library<decltype(cublasLtDestroy)>("cublasLtDestroy");
  return function(handle);
}

cublasStatus_t cublasLtMatmul(cublasLtHandle_t handle, cublasLtMatmulDesc_t operation, const void* alpha, const void* a,
                              cublasLtMatrixLayout_t a_layout, const void* b, cublasLtMatrixLayout_t b_layout,
                              const void* beta, const void* c, cublasLtMatrixLayout_t c_layout, void* d,
                              cublasLtMatrixLayout_t d_layout, const cublasLtMatmulAlgo_t* algorithm, void* workspace,
                              size_t workspace_bytes, cudaStream_t stream) {
  static const auto function = in_library<decltype(cublasLtMatmul)>("cublasLtMatmul");
  return function(handle, operation, alpha, a, a_layout, b, b_layout, beta, c, c_layout, d, d_layout, algorithm,
                  workspace, workspace_bytes, stream);
}

cublasStatus_t cublasLtMatmulAlgoCheck(cublasLtHandle_t handle, cublasLtMatmulDesc_t operation,
                                       cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b, cublasLtMatrixLayout_t c,
                                       cublasLtMatrixLayout_t d, const cublasLtMatmulAlgo_t* algorithm,
                                       cublasLtMatmulHeuristicResult_t* result) {
  static const auto function = in_library<decltype(cublasLtMatmulAlgoCheck)>("cublasLtMatmulAlgoCheck");
  return function(handle, operation, a, b, c, d, algorithm, result);
}

cublasStatus_t cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t handle, cublasLtMatmulDesc_t operation,
                                              cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
                                              cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t d,
                                              cublasLtMatmulPreference_t preference, int requested,
                                              cublasLtMatmulHeuristicResult_t results[], int* returned) {
  static const auto function = in_library<decltype(cublasLtMatmulAlgoGetHeuristic)>("cublasLtMatmulAlgoGetHeuristic");
  return function(handle, operation, a, b, c, d, preference, requested, results, returned);
}

cublasStatus_t cublasLtMatmulDescInit_internal(cublasLtMatmulDesc_t operation, size_t size, cublasComputeType_t compute,
                                               cudaDataType_t scale) {
  static const auto function = in_library<decltype(cublasLtMatmulDescInit_internal)>("cublasLtMatmulDescInit_internal");
  return function(operation, size, compute, scale);
}

cublasStatus_t cublasLtMatmulDescSetAttribute(cublasLtMatmulDesc_t operation, cublasLtMatmulDescAttributes_t attribute,
                                              const void* value, size_t bytes) {
  static const auto function = in_library<decltype(cublasLtMatmulDescSetAttribute)>("cublasLtMatmulDescSetAttribute");
  return function(operation, attribute, value, bytes);
}

cublasStatus_t cublasLtMatmulPreferenceInit_internal(cublasLtMatmulPreference_t preference, size_t size) {
  static const auto function =
      in_library<decltype(cublasLtMatmulPreferenceInit_internal)>("cublasLtMatmulPreferenceInit_internal");
  return function(preference, size);
}

cublasStatus_t cublasLtMatmulPreferenceSetAttribute(cublasLtMatmulPreference_t preference,
                                                    cublasLtMatmulPreferenceAttributes_t attribute, const void* value,
                                                    size_t bytes) {
  static const auto function =
      in_library<decltype(cublasLtMatmulPreferenceSetAttribute)>("cublasLtMatmulPreferenceSetAttribute");
  return function(preference, attribute, value, bytes);
}

cublasStatus_t cublasLtMatrixLayoutInit_internal(cublasLtMatrixLayout_t layout, size_t size, cudaDataType type,
                                                 uint64_t rows, uint64_t columns, int64_t stride) {
  static const auto function =
      in_library<decltype(cublasLtMatrixLayoutInit_internal)>("cublasLtMatrixLayoutInit_internal");
  return function(layout, size, type, rows, columns, stride);
}

}  // extern "C"

#pragma GCC visibility pop
