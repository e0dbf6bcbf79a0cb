#include "ops/tree_sum/binary_tree.h"
#include "ops/tree_sum/tree_sum.h"

namespace centavo {

CpuKernel tree_sum_cpu(const OpView& v, const CpuTraits&) {
  const TreeWindow w = {v.whole("parts"), v.whole("stride"), v.whole("begin"), v.whole("count")};
  return [=](const CpuCall& call) {
    const float* partials = call.in<float>(0);
    *call.out<float>(0) = static_cast<float>(tree_sum(
        w.parts * w.count, [&](int64_t i) { return partials[i / w.count * w.stride + w.begin + i % w.count]; }));
  };
}

}  // namespace centavo
