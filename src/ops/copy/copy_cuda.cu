// One asynchronous copy; the addresses say which way it goes. From and to host memory it runs beside kernels, as that
// memory is page-locked. Moves the bytes of x and y once.

#include "ops/copy/copy.h"
#include "ops/cuda/device.cuh"

namespace centavo {

CudaKernel copy_cuda(const OpView& v, const CudaTraits&) {
  return [bytes = static_cast<size_t>(v.input(0).slot_bytes())](const CudaCall& call) {
    cuda_check(cudaMemcpyAsync(call.out<void>(0), call.in<void>(0), bytes, cudaMemcpyDefault, call.stream), "copy");
  };
}

}  // namespace centavo
