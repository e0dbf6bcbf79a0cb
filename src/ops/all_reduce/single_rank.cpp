#include "ops/all_reduce/single_rank.h"

#include <cstring>

#include "base/parallel.h"

namespace centavo {
namespace {

constexpr int64_t kBytesPerThread = 1 << 16;

CpuKernel copy(int64_t bytes) {
  return [=](const CpuCall& call) {
    const char* x = call.in<char>(0);
    char* y = call.out<char>(0);
    if (x == y) return;
    parallel_ranges(bytes, kBytesPerThread, [&](int64_t begin, int64_t end) {
      std::memcpy(y + begin, x + begin, static_cast<size_t>(end - begin));
    });
  };
}

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

CpuKernel single_rank_cpu(const OpView& v, const CpuTraits&) {
  CHECK(v.whole("ranks") == 1, "the cpu machine has one rank, {} wants {}", v.op().kind, v.whole("ranks"));
  const Buffer& x = v.input(0);
  return v.adds(0) ? add(x.dtype, x.elements()) : copy(x.slot_bytes());
}

double ring_bytes(int64_t bytes, int64_t ranks) {
  return static_cast<double>(bytes) * static_cast<double>(ranks - 1) / static_cast<double>(ranks);
}

void expect_ranks(const OpView& v) {
  expect(v.whole("ranks") >= 1, "ranks must be at least 1, not {}", v.whole("ranks"));
}

}  // namespace centavo
