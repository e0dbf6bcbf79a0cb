#include "ops/by_products.h"

#include "ops/layernorm/layernorm.h"
#include "ops/rmsnorm/rmsnorm.h"
#include "ops/swiglu/swiglu.h"

namespace centavo {

std::optional<Op> with_by_product(const Op& grad, const Op& replay) {
  for (const auto& fused : {swiglu_grad_with_s, rmsnorm_grad_with_h, layernorm_grad_with_h}) {
    if (auto op = fused(grad, replay)) return op;
  }
  return std::nullopt;
}

}  // namespace centavo
