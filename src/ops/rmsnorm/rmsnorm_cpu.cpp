#include <cmath>

#include "base/parallel.h"
#include "ops/rmsnorm/rmsnorm.h"

namespace centavo {
namespace {

constexpr int64_t kRowsPerThread = 8;
constexpr int64_t kColumnTile = 64;

template <class T>
void forward_row(const T* x, const T* delta, const T* weight, int64_t columns, double eps, T* h, Accumulator<T>* rstd,
                 T* sum) {
  using A = Accumulator<T>;
  if (delta != nullptr) {
    for (int64_t c = 0; c < columns; ++c) sum[c] = convert<T>(convert<A>(x[c]) + convert<A>(delta[c]));
    x = sum;
  }
  A squares = 0;
#pragma omp simd reduction(+ : squares)
  for (int64_t c = 0; c < columns; ++c) squares += convert<A>(x[c]) * convert<A>(x[c]);
  const A r = A(1) / std::sqrt(squares / static_cast<A>(columns) + static_cast<A>(eps));
  *rstd = r;
  for (int64_t c = 0; c < columns; ++c) h[c] = convert<T>(convert<A>(x[c]) * r * convert<A>(weight[c]));
}

template <class T>
void backward_row(const T* dh, const T* dsum, const T* sum, const T* weight, Accumulator<T> rstd, int64_t columns,
                  T* dx) {
  using A = Accumulator<T>;
  A dot = 0;
#pragma omp simd reduction(+ : dot)
  for (int64_t c = 0; c < columns; ++c) dot += convert<A>(dh[c]) * convert<A>(weight[c]) * convert<A>(sum[c]);
  const A mean = dot * rstd / static_cast<A>(columns);  // mean(g * xhat)
  for (int64_t c = 0; c < columns; ++c) {
    const A xhat = convert<A>(sum[c]) * rstd;
    const A inner = rstd * (convert<A>(dh[c]) * convert<A>(weight[c]) - xhat * mean);
    dx[c] = convert<T>(dsum == nullptr ? inner : convert<A>(dsum[c]) + inner);
  }
}

// One tile of columns of dweight: rows in order, so the sum does not depend on the number of threads.
template <class T, class G>
void weight_tile(const T* dh, const T* sum, const Accumulator<T>* rstd, int64_t rows, int64_t columns, int64_t begin,
                 int64_t end, Bind bind, G* dweight) {
  using A = Accumulator<T>;
  A total[kColumnTile] = {};
  for (int64_t r = 0; r < rows; ++r) {
    const T* d = dh + r * columns + begin;
    const T* s = sum + r * columns + begin;
    for (int64_t c = 0; c < end - begin; ++c) total[c] += convert<A>(d[c]) * (convert<A>(s[c]) * rstd[r]);
  }
  for (int64_t c = 0; c < end - begin; ++c) {
    const A before = bind == Bind::add ? convert<A>(dweight[begin + c]) : A(0);
    dweight[begin + c] = convert<G>(before + total[c]);
  }
}

}  // namespace

CpuKernel rmsnorm_cpu(const OpView& v, const CpuTraits&) {
  const int64_t rows = v.rows(0);
  const int64_t columns = v.columns(0);
  const double eps = v.real("eps");
  return visit_compute(v.input(0).dtype, [&](auto tag) -> CpuKernel {
    using T = typename decltype(tag)::type;
    using A = Accumulator<T>;
    return [=](const CpuCall& call) {
      const T* x = call.in<T>(0);
      const T* delta = call.in<T>(1);
      parallel_for(rows, kRowsPerThread, [&](int64_t r) {
        const int64_t at = r * columns;
        T* h = call.out<T>(0) + at;
        T* sum = call.out<T>(2) == nullptr ? h : call.out<T>(2) + at;  // a sum nobody asked for lies in h's row
        forward_row(x + at, delta == nullptr ? nullptr : delta + at, call.in<T>(2), columns, eps, h, call.out<A>(1) + r,
                    sum);
      });
    };
  });
}

CpuKernel rmsnorm_grad_cpu(const OpView& v, const CpuTraits&) {
  const int64_t rows = v.rows(0);
  const int64_t columns = v.columns(0);
  const bool wants_weight = v.has_output(1);
  const Bind bind = wants_weight ? v.op().outputs[1].bind : Bind::write;
  const DType gradient = wants_weight ? v.output(1).dtype : DType::f32;
  return visit_compute(v.input(0).dtype, [&](auto tag) -> CpuKernel {
    using T = typename decltype(tag)::type;
    using A = Accumulator<T>;
    return visit_compute(gradient, [&](auto gradient_tag) -> CpuKernel {
      using G = typename decltype(gradient_tag)::type;
      return [=](const CpuCall& call) {
        const T* dh = call.in<T>(0);
        const T* dsum = call.in<T>(1);
        const T* sum = call.in<T>(2);
        const A* rstd = call.in<A>(4);
        parallel_for(rows, kRowsPerThread, [&](int64_t r) {
          const int64_t at = r * columns;
          backward_row(dh + at, dsum == nullptr ? nullptr : dsum + at, sum + at, call.in<T>(3), rstd[r], columns,
                       call.out<T>(0) + at);
        });
        if (!wants_weight) return;
        parallel_for((columns + kColumnTile - 1) / kColumnTile, 1, [&](int64_t tile) {
          const int64_t begin = tile * kColumnTile;
          weight_tile(dh, sum, rstd, rows, columns, begin, std::min(begin + kColumnTile, columns), bind,
                      call.out<G>(1));
        });
      };
    });
  });
}

}  // namespace centavo
