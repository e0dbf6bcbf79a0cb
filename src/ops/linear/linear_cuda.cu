// linear, linear_dx and linear_dw are one product each (product_cuda.h).

#include "ops/linear/linear.h"
#include "ops/linear/product_cuda.h"
#include "ops/linear/products.h"

namespace centavo {
namespace {

enum In : size_t { kX, kWeight, kBias };

CudaKernel product_kernel(const OpView& v, const ProductSpec& spec, bool has_bias, const CudaTraits& traits) {
  const auto alignment = [&](BufferId id) { return alignment_of(v.program(), id); };
  const CudaProduct product(spec,
                            {.a_alignment = alignment(v.op().inputs[0]),
                             .b_alignment = alignment(v.op().inputs[1]),
                             .c_alignment = alignment(v.op().outputs[0].buffer),
                             .bias_alignment = has_bias ? alignment(v.op().inputs[kBias]) : 0},
                            traits);
  return [product, has_bias](const CudaCall& call) {
    product.run({.a = call.inputs[0],
                 .b = call.inputs[1],
                 .c = call.outputs[0],
                 .bias = has_bias ? call.inputs[kBias] : nullptr},
                call.workspace, call.stream);
  };
}

}  // namespace

int64_t linear_cuda_workspace(const OpView& v, const CudaTraits& traits) {
  return CudaProduct::workspace_bytes(linear_product(v), traits);
}

int64_t linear_dx_cuda_workspace(const OpView& v, const CudaTraits& traits) {
  return CudaProduct::workspace_bytes(linear_dx_product(v), traits);
}

int64_t linear_dw_cuda_workspace(const OpView& v, const CudaTraits& traits) {
  return CudaProduct::workspace_bytes(linear_dw_product(v), traits);
}

CudaKernel linear_cuda(const OpView& v, const CudaTraits& traits) {
  return product_kernel(v, linear_product(v), v.has_input(kBias), traits);
}

CudaKernel linear_dx_cuda(const OpView& v, const CudaTraits& traits) {
  return product_kernel(v, linear_dx_product(v), false, traits);
}

CudaKernel linear_dw_cuda(const OpView& v, const CudaTraits& traits) {
  return product_kernel(v, linear_dw_product(v), false, traits);
}

}  // namespace centavo
