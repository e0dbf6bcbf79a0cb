#include "base/parallel.h"
#include "ops/normal/normal.h"

namespace centavo {
namespace {

constexpr int64_t kElementsPerThread = 4096;

}  // namespace

CpuKernel normal_cpu(const OpView& v, const CpuTraits&) {
  const int64_t elements = v.output(0).elements();
  const NormalCall n = normal_call(v);
  return visit_compute(v.output(0).dtype, [&](auto tag) -> CpuKernel {
    using T = typename decltype(tag)::type;
    return [=](const CpuCall& call) {
      T* y = call.out<T>(0);
      parallel_for(elements, kElementsPerThread, [=](int64_t i) {
        const double noise = n.random.normal(n.begin + static_cast<uint64_t>(i));
        y[i] = convert<T>(static_cast<float>(n.law.mean + n.law.deviation * noise));
      });
    };
  });
}

}  // namespace centavo
