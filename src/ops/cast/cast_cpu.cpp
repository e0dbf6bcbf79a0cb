#include "base/parallel.h"
#include "base/rng.h"
#include "ops/cast/cast.h"

namespace centavo {
namespace {

constexpr int64_t kElementsPerThread = 16384;
constexpr int64_t kDrawsPerThread = 512;

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

CpuKernel stochastic(const OpView& v) {
  const int64_t elements = v.input(0).elements();
  const uint64_t first = static_cast<uint64_t>(v.output(0).first_element());
  const uint32_t logical = static_cast<uint32_t>(v.op().logical);
  return [=](const CpuCall& call) {
    const float* x = call.in<float>(0);
    bf16* y = call.out<bf16>(0);
    const uint64_t seed = static_cast<uint64_t>(*call.in<int64_t>(1));
    const uint64_t step = static_cast<uint64_t>(*call.in<int64_t>(2));
    const RandomStream stream = random_stream(seed, step, 0, logical);
    parallel_for(elements, kDrawsPerThread,
                 [&](int64_t i) { y[i] = stochastic_round(x[i], stream.bits(first + static_cast<uint64_t>(i))); });
  };
}

}  // namespace

CpuKernel cast_cpu(const OpView& v, const CpuTraits&) {
  return v.text("rounding") == "stochastic" ? stochastic(v) : nearest(v);
}

}  // namespace centavo
