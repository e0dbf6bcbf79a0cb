#include <cmath>

#include "base/parallel.h"
#include "ops/rmsnorm/rmsnorm.h"

namespace centavo {
namespace {

constexpr int64_t kRowsPerThread = 8;
// dweight is summed over blocks of rows; the sum of a block is made while dx is.
constexpr int64_t kBlockRows = 64;
constexpr int64_t kColumnTile = 64;
constexpr int64_t kColumnTilesPerThread = 4;

int64_t blocks_of(int64_t rows) { return (rows + kBlockRows - 1) / kBlockRows; }

template <class T>
void normalize(const T* x, const Accumulator<T>* weight, Accumulator<T> rstd, int64_t columns, T* h) {
  using A = Accumulator<T>;
  for (int64_t c = 0; c < columns; ++c) h[c] = convert<T>(convert<A>(x[c]) * rstd * weight[c]);
}

template <class T>
void forward_row(const T* x, const T* delta, const Accumulator<T>* weight, int64_t columns, double eps, T* h,
                 Accumulator<T>* rstd, T* sum) {
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
  normalize(x, weight, r, columns, h);
}

template <class T>
struct Backward {
  using A = Accumulator<T>;
  int64_t rows, columns;
  const T *dh, *dsum, *sum;
  const A *weight, *rstd;
  T *dx, *h;    // h: null where it is not wanted
  A* partials;  // [blocks, C]; null: dweight is not wanted
};

// `total`, when there is one, gathers dweight.
template <class T>
void gradient_row(const Backward<T>& f, int64_t row, Accumulator<T>* total) {
  using A = Accumulator<T>;
  const int64_t columns = f.columns;
  const T* dh = f.dh + row * columns;
  const T* sum = f.sum + row * columns;
  const T* dsum = f.dsum == nullptr ? nullptr : f.dsum + row * columns;
  const A* weight = f.weight;
  const A rstd = f.rstd[row];
  T* dx = f.dx + row * columns;
  A dot = 0;
#pragma omp simd reduction(+ : dot)
  for (int64_t c = 0; c < columns; ++c) dot += convert<A>(dh[c]) * weight[c] * convert<A>(sum[c]);
  const A mean = dot * rstd / static_cast<A>(columns);  // mean(g * xhat)
#pragma omp simd
  for (int64_t c = 0; c < columns; ++c) {
    const A xhat = convert<A>(sum[c]) * rstd;
    const A inner = rstd * (convert<A>(dh[c]) * weight[c] - xhat * mean);
    dx[c] = convert<T>(dsum == nullptr ? inner : convert<A>(dsum[c]) + inner);
  }
  if (total == nullptr) return;
#pragma omp simd
  for (int64_t c = 0; c < columns; ++c) total[c] += convert<A>(dh[c]) * (convert<A>(sum[c]) * rstd);
}

// h comes last: it may lie where dh does.
template <class T>
void backward_row(const Backward<T>& f, int64_t row, Accumulator<T>* total) {
  gradient_row(f, row, total);
  const int64_t at = row * f.columns;
  if (f.h != nullptr) normalize(f.sum + at, f.weight, f.rstd[row], f.columns, f.h + at);
}

template <class T>
void backward_block(const Backward<T>& f, int64_t block) {
  Accumulator<T>* total = f.partials == nullptr ? nullptr : f.partials + block * f.columns;
  if (total != nullptr) std::fill_n(total, f.columns, Accumulator<T>(0));
  const int64_t end = std::min((block + 1) * kBlockRows, f.rows);
  for (int64_t r = block * kBlockRows; r < end; ++r) backward_row(f, r, total);
}

// One tile of columns of dweight: blocks in order.
template <class A, class G>
void weight_tile(const A* partials, int64_t blocks, int64_t columns, int64_t begin, Bind bind, G* dweight) {
  A total[kColumnTile] = {};
  const int64_t width = std::min(kColumnTile, columns - begin);
  for (int64_t b = 0; b < blocks; ++b) {
    for (int64_t c = 0; c < width; ++c) total[c] += partials[b * columns + begin + c];
  }
  for (int64_t c = 0; c < width; ++c) {
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
        forward_row(x + at, delta == nullptr ? nullptr : delta + at, call.in<A>(2), columns, eps, h, call.out<A>(1) + r,
                    sum);
      });
    };
  });
}

int64_t rmsnorm_grad_cpu_workspace(const OpView& v, const CpuTraits&) {
  if (!v.has_output(1)) return 0;
  return blocks_of(v.rows(0)) * v.columns(0) * size_of(accumulator_of(v.input(0).dtype));
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
        A* partials = wants_weight ? static_cast<A*>(call.workspace) : nullptr;
        const Backward<T> f{rows,          columns,       call.in<T>(0),  call.in<T>(1),  call.in<T>(2),
                            call.in<A>(3), call.in<A>(4), call.out<T>(0), call.out<T>(2), partials};
        parallel_for(blocks_of(rows), 1, [&](int64_t block) { backward_block(f, block); });
        if (!wants_weight) return;
        parallel_for((columns + kColumnTile - 1) / kColumnTile, kColumnTilesPerThread, [&](int64_t tile) {
          weight_tile(partials, blocks_of(rows), columns, tile * kColumnTile, bind, call.out<G>(1));
        });
      };
    });
  });
}

}  // namespace centavo
