#include "ops/cuda/tensor_map.cuh"

#include "ops/cuda/check.cuh"

namespace centavo {
namespace {

using Encode = decltype(cuTensorMapEncodeTiled);

Encode* encode() {
  static Encode* const function = [] {
    void* found = nullptr;
    cudaDriverEntryPointQueryResult result = cudaDriverEntryPointSymbolNotFound;
    cuda_check(cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &found, 12000, cudaEnableDefault, &result),
               "asking the driver for cuTensorMapEncodeTiled");
    if (result != cudaDriverEntryPointSuccess) {
      throw DeviceError("the driver has no cuTensorMapEncodeTiled; install one for CUDA 12 or newer");
    }
    return reinterpret_cast<Encode*>(found);
  }();
  return function;
}

}  // namespace

CUtensorMap map_of(const MappedMatrix& m) {
  CUtensorMap map;
  const cuuint64_t sizes[] = {static_cast<cuuint64_t>(m.columns), static_cast<cuuint64_t>(m.rows)};
  const cuuint64_t row_bytes[] = {static_cast<cuuint64_t>(2 * m.stride)};
  const cuuint32_t box[] = {kBoxColumns, static_cast<cuuint32_t>(m.box_rows)};
  const cuuint32_t steps[] = {1, 1};
  const CUresult status = encode()(&map, CU_TENSOR_MAP_DATA_TYPE_BFLOAT16, 2, const_cast<void*>(m.data), sizes,
                                   row_bytes, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE, CU_TENSOR_MAP_SWIZZLE_128B,
                                   CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (status != CUDA_SUCCESS) {
    throw DeviceError(fmt::format("mapping a matrix of {} x {} for bulk copies: CUDA error {}", m.rows, m.columns,
                                  static_cast<int>(status)));
  }
  return map;
}

}  // namespace centavo
