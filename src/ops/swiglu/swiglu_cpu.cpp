#include <cmath>

#include "base/fast_exp.h"
#include "base/parallel.h"
#include "ops/swiglu/swiglu.h"

namespace centavo {
namespace {

constexpr int64_t kRowsPerThread = 4;

// sigma(x) and 1 - sigma(x), each to full relative accuracy.
template <class A>
struct Sigmoid {
  A value;
  A rest;
};

template <class A>
inline Sigmoid<A> sigmoid(A x) {
  const A e = exp_nonpositive(-std::fabs(x));
  const A large = A(1) / (A(1) + e);
  return {large * blend(x < A(0), e, A(1)), large * blend(x < A(0), A(1), e)};
}

template <class T>
void forward_row(const T* gate, const T* up, int64_t columns, T* s) {
  using A = Accumulator<T>;
#pragma omp simd
  for (int64_t c = 0; c < columns; ++c) {
    const A x = convert<A>(gate[c]);
    s[c] = convert<T>(x * sigmoid(x).value * convert<A>(up[c]));
  }
}

// s: with kWithS, what forward_row writes; may lie where ds does.
template <bool kWithS, class T>
void backward_row(const T* ds, const T* gate, const T* up, int64_t columns, T* dgate, T* dup, T* s) {
  using A = Accumulator<T>;
#pragma omp simd
  for (int64_t c = 0; c < columns; ++c) {
    const A d = convert<A>(ds[c]);
    const A x = convert<A>(gate[c]);
    const Sigmoid<A> sigma = sigmoid(x);
    dgate[c] = convert<T>(d * convert<A>(up[c]) * (sigma.value * (A(1) + x * sigma.rest)));
    const A silu = x * sigma.value;
    dup[c] = convert<T>(d * silu);
    if constexpr (kWithS) s[c] = convert<T>(silu * convert<A>(up[c]));
  }
}

}  // namespace

CpuKernel swiglu_cpu(const OpView& v, const CpuTraits&) {
  const int64_t rows = v.rows(0);
  const int64_t columns = v.columns(0) / 2;
  return visit_compute(v.input(0).dtype, [&](auto tag) -> CpuKernel {
    using T = typename decltype(tag)::type;
    return [=](const CpuCall& call) {
      parallel_for(rows, kRowsPerThread, [&](int64_t r) {
        const T* gate = call.in<T>(0) + r * 2 * columns;
        forward_row(gate, gate + columns, columns, call.out<T>(0) + r * columns);
      });
    };
  });
}

CpuKernel swiglu_grad_cpu(const OpView& v, const CpuTraits&) {
  const int64_t rows = v.rows(1);
  const int64_t columns = v.columns(1) / 2;
  return visit_compute(v.input(1).dtype, [&](auto tag) -> CpuKernel {
    using T = typename decltype(tag)::type;
    return [=](const CpuCall& call) {
      parallel_for(rows, kRowsPerThread, [&](int64_t r) {
        const T* gate = call.in<T>(1) + r * 2 * columns;
        const T* ds = call.in<T>(0) + r * columns;
        T* dgate = call.out<T>(0) + r * 2 * columns;
        T* s = call.out<T>(1);
        if (s == nullptr) {
          backward_row<false>(ds, gate, gate + columns, columns, dgate, dgate + columns, s);
        } else {
          backward_row<true>(ds, gate, gate + columns, columns, dgate, dgate + columns, s + r * columns);
        }
      });
    };
  });
}

}  // namespace centavo
