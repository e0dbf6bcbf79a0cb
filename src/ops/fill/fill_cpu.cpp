#include <algorithm>

#include "base/parallel.h"
#include "ops/fill/fill.h"

namespace centavo {
namespace {

constexpr int64_t kElementsPerThread = 16384;

}  // namespace

CpuKernel fill_cpu(const OpView& v, const CpuTraits&) {
  const int64_t elements = v.output(0).elements();
  const double value = v.real("value");
  return visit_compute(v.output(0).dtype, [&](auto tag) -> CpuKernel {
    using T = typename decltype(tag)::type;
    return [=](const CpuCall& call) {
      parallel_ranges(elements, kElementsPerThread, [&](int64_t begin, int64_t end) {
        std::fill(call.out<T>(0) + begin, call.out<T>(0) + end, convert<T>(value));
      });
    };
  });
}

}  // namespace centavo
