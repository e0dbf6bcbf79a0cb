#include "machine/gpu_libraries.h"

#include "ops/cuda/cublas_lt_library.h"
#include "ops/cuda/cudnn_library.h"

namespace centavo {
namespace {

GpuLibrary described(const std::string& name, const OpenLibrary& library, std::string (*version)(int64_t)) {
  return {name, library.handle == nullptr ? "" : version(library.version), library.path, library.refusal};
}

}  // namespace

std::vector<GpuLibrary> gpu_libraries() {
  return {described("cuBLASLt", cublas_lt_library(), cublas_version_text),
          described("cuDNN", cudnn_library(), cudnn_version_text)};
}

}  // namespace centavo
