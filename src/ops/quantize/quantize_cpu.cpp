#include <cmath>

#include "base/parallel.h"
#include "ops/quantize/quantize.h"

namespace centavo {
namespace {

constexpr int64_t kAmaxPerThread = 16384;
constexpr int64_t kQuantizePerThread = 1024;

template <class T>
float largest_magnitude(const T* x, int64_t count) {
  using A = Accumulator<T>;
  A largest = 0;
#pragma omp simd reduction(max : largest)
  for (int64_t i = 0; i < count; ++i) {
    const A magnitude = std::fabs(convert<A>(x[i]));
    largest = magnitude > largest ? magnitude : largest;
  }
  return static_cast<float>(largest);
}

// In any order: a maximum is the same in each.
template <class T>
float amax_of(const T* x, int64_t count) {
  float all = 0;
  parallel_ranges(count, kAmaxPerThread, [&](int64_t begin, int64_t end) {
    const float part = largest_magnitude(x + begin, end - begin);
#pragma omp critical(centavo_amax)
    all = std::max(all, part);
  });
  return all;
}

// kMax / m does not fit f32 when m is tiny, hence f64.
template <class T, class Q>
void quantize_all(const T* x, int64_t count, float m, Q* q) {
  const double factor = m == 0 ? 0.0 : static_cast<double>(Q::kMax) / static_cast<double>(m);
  parallel_for(count, kQuantizePerThread, [&](int64_t i) {
    const double value = static_cast<double>(convert<Accumulator<T>>(x[i]));
    q[i] = Q(static_cast<float>(value * factor));
  });
}

template <class Q>
CpuKernel quantize_into(const OpView& v) {
  const int64_t count = v.input(0).elements();
  return visit_compute(v.input(0).dtype, [&](auto tag) -> CpuKernel {
    using T = typename decltype(tag)::type;
    return [=](const CpuCall& call) { quantize_all(call.in<T>(0), count, *call.in<float>(1), call.out<Q>(0)); };
  });
}

}  // namespace

CpuKernel amax_cpu(const OpView& v, const CpuTraits&) {
  const int64_t count = v.input(0).elements();
  return visit_compute(v.input(0).dtype, [&](auto tag) -> CpuKernel {
    using T = typename decltype(tag)::type;
    return [=](const CpuCall& call) { *call.out<float>(0) = amax_of(call.in<T>(0), count); };
  });
}

CpuKernel quantize_cpu(const OpView& v, const CpuTraits&) {
  return v.text("format") == "e4m3" ? quantize_into<f8e4m3>(v) : quantize_into<f8e5m2>(v);
}

}  // namespace centavo
