#include "base/parallel.h"
#include "ops/add/add.h"

namespace centavo {
namespace {

constexpr int64_t kElementsPerThread = 16384;

template <class T>
void add_range(const T* a, const T* b, int64_t begin, int64_t end, T* c) {
  using A = Accumulator<T>;
#pragma omp simd
  for (int64_t i = begin; i < end; ++i) c[i] = convert<T>(convert<A>(a[i]) + convert<A>(b[i]));
}

}  // namespace

CpuKernel add_cpu(const OpView& v, const CpuTraits&) {
  const int64_t elements = v.input(0).elements();
  return visit_compute(v.input(0).dtype, [&](auto tag) -> CpuKernel {
    using T = typename decltype(tag)::type;
    return [=](const CpuCall& call) {
      parallel_ranges(elements, kElementsPerThread, [&](int64_t begin, int64_t end) {
        add_range(call.in<T>(0), call.in<T>(1), begin, end, call.out<T>(0));
      });
    };
  });
}

}  // namespace centavo
