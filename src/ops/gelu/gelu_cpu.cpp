#include <cmath>

#include "base/fast_exp.h"
#include "base/parallel.h"
#include "ops/gelu/gelu.h"
#include "ops/gelu/gelu_constants.h"

namespace centavo {
namespace {

constexpr int64_t kElementsPerThread = 1 << 14;

// sigma(z) and 1 - sigma(z), each to full relative accuracy.
template <class A>
struct Sigmoid {
  A value;
  A rest;
};

template <class A>
inline Sigmoid<A> sigmoid(A z) {
  const A e = exp_nonpositive(-std::fabs(z));
  const A large = A(1) / (A(1) + e);
  return {large * blend(z < A(0), e, A(1)), large * blend(z < A(0), A(1), e)};
}

template <class A>
inline A z_of(A x, A square) {
  return static_cast<A>(kGeluScale) * (x * (A(1) + static_cast<A>(kGeluCubic) * square));
}

template <class T>
void forward_range(const T* x, int64_t count, T* y) {
  using A = Accumulator<T>;
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) {
    const A value = convert<A>(x[i]);
    y[i] = convert<T>(value * sigmoid(z_of(value, value * value)).value);
  }
}

template <class T>
void backward_range(const T* dy, const T* x, int64_t count, T* dx) {
  using A = Accumulator<T>;
  constexpr A kFarSquare = static_cast<A>(kGeluFarSquare);
  constexpr A kSlopeCubic = static_cast<A>(3 * kGeluCubic);
#pragma omp simd
  for (int64_t i = 0; i < count; ++i) {
    const A value = convert<A>(x[i]);
    const A square = blend(value * value > kFarSquare, kFarSquare, value * value);
    const Sigmoid<A> sigma = sigmoid(z_of(value, square));
    const A slope = static_cast<A>(kGeluScale) * (A(1) + kSlopeCubic * square);
    dx[i] = convert<T>(convert<A>(dy[i]) * (sigma.value * (A(1) + value * slope * sigma.rest)));
  }
}

}  // namespace

CpuKernel gelu_cpu(const OpView& v, const CpuTraits&) {
  const int64_t count = v.input(0).elements();
  return visit_compute(v.input(0).dtype, [&](auto tag) -> CpuKernel {
    using T = typename decltype(tag)::type;
    return [=](const CpuCall& call) {
      parallel_ranges(count, kElementsPerThread, [&](int64_t begin, int64_t end) {
        forward_range(call.in<T>(0) + begin, end - begin, call.out<T>(0) + begin);
      });
    };
  });
}

CpuKernel gelu_grad_cpu(const OpView& v, const CpuTraits&) {
  const int64_t count = v.input(0).elements();
  return visit_compute(v.input(0).dtype, [&](auto tag) -> CpuKernel {
    using T = typename decltype(tag)::type;
    return [=](const CpuCall& call) {
      parallel_ranges(count, kElementsPerThread, [&](int64_t begin, int64_t end) {
        backward_range(call.in<T>(0) + begin, call.in<T>(1) + begin, end - begin, call.out<T>(0) + begin);
      });
    };
  });
}

}  // namespace centavo
