#include "ops/collective/alone.h"

#include <cstring>

#include "base/parallel.h"

namespace centavo {
namespace {

constexpr int64_t kBytesPerThread = 1 << 16;

template <class T>
void add_range(const T* x, int64_t n, T* y) {
  using A = Accumulator<T>;
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) y[i] = convert<T>(convert<A>(y[i]) + convert<A>(x[i]));
}

CpuKernel add(DType dtype, int64_t n) {
  return visit_compute(dtype, [&](auto tag) -> CpuKernel {
    using T = typename decltype(tag)::type;
    return [=](const CpuCall& call) {
      parallel_ranges(n, kBytesPerThread / static_cast<int64_t>(sizeof(T)), [&](int64_t begin, int64_t end) {
        add_range(call.in<T>(0) + begin, end - begin, call.out<T>(0) + begin);
      });
    };
  });
}

}  // namespace

CpuKernel alone_cpu(const OpView& v) {
  const Buffer& x = v.input(0);
  if (v.adds(0)) return add(x.dtype, x.elements());
  return [bytes = x.slot_bytes()](const CpuCall& call) {
    copy_bytes(call.in<std::byte>(0), call.out<std::byte>(0), bytes);
  };
}

void copy_bytes(const std::byte* from, std::byte* to, int64_t bytes) {
  if (from == to) return;
  parallel_ranges(bytes, kBytesPerThread, [&](int64_t begin, int64_t end) {
    std::memcpy(to + begin, from + begin, static_cast<size_t>(end - begin));
  });
}

}  // namespace centavo
