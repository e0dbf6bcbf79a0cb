// Attention on CUDA: cuDNN where it does the case, else the own kernels.

#include <algorithm>

#include "ops/attention/attention.h"
#include "ops/attention/attention_cuda.h"
#include "ops/attention/attention_cudnn.h"

namespace centavo {

CudaKernel attention_cuda(const OpView& view, const CudaTraits& traits) {
  if (std::optional<CudaKernel> kernel = attention_cudnn(view, traits)) return *std::move(kernel);
  return attention_own_cuda(view, traits);
}

CudaKernel attention_grad_cuda(const OpView& view, const CudaTraits& traits) {
  if (std::optional<CudaKernel> kernel = attention_grad_cudnn(view, traits)) return *std::move(kernel);
  return attention_grad_own_cuda(view, traits);
}

int64_t attention_cuda_workspace(const OpView& view, const CudaTraits& traits) {
  return std::max(attention_cudnn_workspace(view, traits), attention_own_cuda_workspace(view, traits));
}

int64_t attention_grad_cuda_workspace(const OpView& view, const CudaTraits& traits) {
  return std::max(attention_grad_cudnn_workspace(view, traits), attention_grad_own_cuda_workspace(view, traits));
}

std::string attention_cuda_choice(const OpView& view, const CudaTraits& traits) {
  const std::string refusal = cudnn_attention_refusal(view, traits);
  return refusal.empty() ? cudnn_attention_name(view, traits) : fmt::format("own kernel: {}", refusal);
}

}  // namespace centavo
