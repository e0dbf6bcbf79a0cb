#include "base/parallel.h"
#include "base/rng.h"
#include "ops/cast/cast.h"

namespace centavo {
namespace {

constexpr int64_t kElementsPerThread = 16384;
constexpr int64_t kDrawTile = 512;

template <class From, class To>
void round_nearest(const From* x, int64_t begin, int64_t end, To* y) {
#pragma omp simd
  for (int64_t i = begin; i < end; ++i) y[i] = convert<To>(x[i]);
}

CpuKernel nearest(const OpView& v) {
  const int64_t elements = v.input(0).elements();
  return visit_compute(v.input(0).dtype, [&](auto from_tag) -> CpuKernel {
    using From = typename decltype(from_tag)::type;
    return visit_compute(v.output(0).dtype, [&](auto to_tag) -> CpuKernel {
      using To = typename decltype(to_tag)::type;
      return [=](const CpuCall& call) {
        parallel_ranges(elements, kElementsPerThread, [&](int64_t begin, int64_t end) {
          round_nearest(call.in<From>(0), begin, end, call.out<To>(0));
        });
      };
    });
  });
}

void round_stochastic(const float* x, const RandomStream& stream, uint64_t first, int64_t n, bf16* y) {
  uint16_t random[kDrawTile];
  draw16(stream, 0, first, n, random);
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) y[i] = stochastic_round(x[i], random[i]);
}

CpuKernel stochastic(const OpView& v) {
  const int64_t elements = v.input(0).elements();
  const uint64_t first = static_cast<uint64_t>(v.output(0).first_element());
  const uint32_t logical = static_cast<uint32_t>(v.op().logical);
  return [=](const CpuCall& call) {
    const uint64_t seed = static_cast<uint64_t>(*call.in<int64_t>(1));
    const uint64_t step = static_cast<uint64_t>(*call.in<int64_t>(2));
    const RandomStream stream = random_stream(seed, step, 0, logical);
    parallel_for((elements + kDrawTile - 1) / kDrawTile, 1, [&](int64_t tile) {
      const int64_t begin = tile * kDrawTile;
      round_stochastic(call.in<float>(0) + begin, stream, first + static_cast<uint64_t>(begin),
                       std::min(kDrawTile, elements - begin), call.out<bf16>(0) + begin);
    });
  };
}

}  // namespace

CpuKernel cast_cpu(const OpView& v, const CpuTraits&) {
  return v.text("rounding") == "stochastic" ? stochastic(v) : nearest(v);
}

}  // namespace centavo
