#include <cmath>

#include "base/parallel.h"
#include "ops/layernorm/layernorm.h"

namespace centavo {
namespace {

constexpr int64_t kRowsPerThread = 8;
// dweight and dbias are summed over blocks of rows; the sums of a block are made while dx is.
constexpr int64_t kBlockRows = 64;
constexpr int64_t kColumnTile = 64;
constexpr int64_t kColumnTilesPerThread = 4;

int64_t blocks_of(int64_t rows) { return (rows + kBlockRows - 1) / kBlockRows; }

template <class A>
struct Affine {
  const A *weight, *bias;
};

template <class T>
void normalize(const T* x, Accumulator<T> mean, Accumulator<T> rstd, const Affine<Accumulator<T>>& affine,
               int64_t columns, T* h) {
  using A = Accumulator<T>;
  for (int64_t c = 0; c < columns; ++c) {
    h[c] = convert<T>((convert<A>(x[c]) - mean) * rstd * affine.weight[c] + affine.bias[c]);
  }
}

template <class T>
struct Forward {
  using A = Accumulator<T>;
  int64_t columns;
  A eps;
  const T *x, *delta;
  const A *weight, *bias;
  T* h;
  A *mean, *rstd;
  T* sum;  // null: nobody asked for it
};

template <class T>
void forward_row(const Forward<T>& f, int64_t row) {
  using A = Accumulator<T>;
  const int64_t columns = f.columns;
  const T* x = f.x + row * columns;
  T* h = f.h + row * columns;
  if (f.delta != nullptr) {
    const T* delta = f.delta + row * columns;
    T* sum = f.sum == nullptr ? h : f.sum + row * columns;  // a sum nobody asked for lies in h's row
    for (int64_t c = 0; c < columns; ++c) sum[c] = convert<T>(convert<A>(x[c]) + convert<A>(delta[c]));
    x = sum;
  }
  // Counted from the first element, so that a mean far from zero takes no digits from the sum, in whatever order.
  const A first = convert<A>(x[0]);
  A total = 0;
#pragma omp simd reduction(+ : total)
  for (int64_t c = 0; c < columns; ++c) total += convert<A>(x[c]) - first;
  const A mean = first + total / static_cast<A>(columns);
  A squares = 0;
#pragma omp simd reduction(+ : squares)
  for (int64_t c = 0; c < columns; ++c) squares += (convert<A>(x[c]) - mean) * (convert<A>(x[c]) - mean);
  const A rstd = A(1) / std::sqrt(squares / static_cast<A>(columns) + f.eps);
  f.mean[row] = mean;
  f.rstd[row] = rstd;
  normalize(x, mean, rstd, {f.weight, f.bias}, columns, h);
}

template <class T>
struct Backward {
  using A = Accumulator<T>;
  int64_t rows, columns;
  const T *dh, *dsum, *sum;
  const A *weight, *mean, *rstd;
  const A* bias;
  T *dx, *h;    // h, which the bias is for: null where it is not wanted
  A* partials;  // [blocks, 2, C]: dweight, dbias; null: neither is wanted
};

// `dweight` and `dbias`, when they are there, gather the row's part.
template <class T>
void gradient_row(const Backward<T>& f, int64_t row, Accumulator<T>* dweight, Accumulator<T>* dbias) {
  using A = Accumulator<T>;
  const int64_t columns = f.columns;
  const T* dh = f.dh + row * columns;
  const T* sum = f.sum + row * columns;
  const T* dsum = f.dsum == nullptr ? nullptr : f.dsum + row * columns;
  const A* weight = f.weight;
  const A mean = f.mean[row];
  const A rstd = f.rstd[row];
  T* dx = f.dx + row * columns;
  A total = 0;
  A dot = 0;
#pragma omp simd reduction(+ : total, dot)
  for (int64_t c = 0; c < columns; ++c) {
    const A g = convert<A>(dh[c]) * weight[c];
    total += g;
    dot += g * (convert<A>(sum[c]) - mean);
  }
  const A mean_g = total / static_cast<A>(columns);
  const A mean_gx = dot * rstd / static_cast<A>(columns);  // mean(g * xhat)
#pragma omp simd
  for (int64_t c = 0; c < columns; ++c) {
    const A xhat = (convert<A>(sum[c]) - mean) * rstd;
    const A inner = rstd * (convert<A>(dh[c]) * weight[c] - mean_g - xhat * mean_gx);
    dx[c] = convert<T>(dsum == nullptr ? inner : convert<A>(dsum[c]) + inner);
  }
  if (dweight == nullptr) return;
#pragma omp simd
  for (int64_t c = 0; c < columns; ++c) {
    dweight[c] += convert<A>(dh[c]) * ((convert<A>(sum[c]) - mean) * rstd);
    dbias[c] += convert<A>(dh[c]);
  }
}

// h comes last: it may lie where dh does.
template <class T>
void backward_row(const Backward<T>& f, int64_t row, Accumulator<T>* dweight, Accumulator<T>* dbias) {
  gradient_row(f, row, dweight, dbias);
  const int64_t at = row * f.columns;
  if (f.h != nullptr) normalize(f.sum + at, f.mean[row], f.rstd[row], {f.weight, f.bias}, f.columns, f.h + at);
}

template <class T>
void backward_block(const Backward<T>& f, int64_t block) {
  Accumulator<T>* dweight = f.partials == nullptr ? nullptr : f.partials + block * 2 * f.columns;
  Accumulator<T>* dbias = dweight == nullptr ? nullptr : dweight + f.columns;
  if (dweight != nullptr) std::fill_n(dweight, 2 * f.columns, Accumulator<T>(0));
  const int64_t end = std::min((block + 1) * kBlockRows, f.rows);
  for (int64_t r = block * kBlockRows; r < end; ++r) backward_row(f, r, dweight, dbias);
}

// One tile of columns of a gradient: blocks, `stride` apart, in order.
template <class A, class G>
void gradient_tile(const A* partials, int64_t blocks, int64_t stride, int64_t width, Bind bind, G* gradient) {
  A total[kColumnTile] = {};
  for (int64_t b = 0; b < blocks; ++b) {
    for (int64_t c = 0; c < width; ++c) total[c] += partials[b * stride + c];
  }
  for (int64_t c = 0; c < width; ++c) {
    const A before = bind == Bind::add ? convert<A>(gradient[c]) : A(0);
    gradient[c] = convert<G>(before + total[c]);
  }
}

// What adds the blocks' sums, `first` elements into each, to one output.
template <class A>
using AddPartials = std::function<void(const A* partials, const CpuCall&)>;

// `output` is 1 (dweight) or 2 (dbias).
template <class A>
AddPartials<A> add_partials_of(const OpView& v, size_t output) {
  if (!v.has_output(output)) return [](const A*, const CpuCall&) {};
  const int64_t blocks = blocks_of(v.rows(0));
  const int64_t columns = v.columns(0);
  const int64_t first = output == 1 ? 0 : columns;
  const Bind bind = v.op().outputs[output].bind;
  return visit_compute(v.output(output).dtype, [&](auto tag) -> AddPartials<A> {
    using G = typename decltype(tag)::type;
    return [=](const A* partials, const CpuCall& call) {
      parallel_for((columns + kColumnTile - 1) / kColumnTile, kColumnTilesPerThread, [&](int64_t tile) {
        const int64_t begin = tile * kColumnTile;
        gradient_tile(partials + first + begin, blocks, 2 * columns, std::min(kColumnTile, columns - begin), bind,
                      call.out<G>(output) + begin);
      });
    };
  });
}

bool wants_sums(const OpView& v) { return v.has_output(1) || v.has_output(2); }

}  // namespace

CpuKernel layernorm_cpu(const OpView& v, const CpuTraits&) {
  const int64_t rows = v.rows(0);
  const int64_t columns = v.columns(0);
  const double eps = v.real("eps");
  return visit_compute(v.input(0).dtype, [&](auto tag) -> CpuKernel {
    using T = typename decltype(tag)::type;
    using A = Accumulator<T>;
    return [=](const CpuCall& call) {
      const Forward<T> f{columns,       static_cast<A>(eps), call.in<T>(0),  call.in<T>(1),  call.in<A>(2),
                         call.in<A>(3), call.out<T>(0),      call.out<A>(1), call.out<A>(2), call.out<T>(3)};
      parallel_for(rows, kRowsPerThread, [&](int64_t r) { forward_row(f, r); });
    };
  });
}

int64_t layernorm_grad_cpu_workspace(const OpView& v, const CpuTraits&) {
  if (!wants_sums(v)) return 0;
  return blocks_of(v.rows(0)) * 2 * v.columns(0) * size_of(accumulator_of(v.input(0).dtype));
}

CpuKernel layernorm_grad_cpu(const OpView& v, const CpuTraits&) {
  const int64_t rows = v.rows(0);
  const int64_t columns = v.columns(0);
  const bool sums = wants_sums(v);
  return visit_compute(v.input(0).dtype, [&](auto tag) -> CpuKernel {
    using T = typename decltype(tag)::type;
    using A = Accumulator<T>;
    const AddPartials<A> add_dweight = add_partials_of<A>(v, 1);
    const AddPartials<A> add_dbias = add_partials_of<A>(v, 2);
    return [=](const CpuCall& call) {
      A* partials = sums ? static_cast<A*>(call.workspace) : nullptr;
      const Backward<T> f{rows,          columns,       call.in<T>(0), call.in<T>(1),  call.in<T>(2),  call.in<A>(3),
                          call.in<A>(4), call.in<A>(5), call.in<A>(6), call.out<T>(0), call.out<T>(3), partials};
      parallel_for(blocks_of(rows), 1, [&](int64_t block) { backward_block(f, block); });
      add_dweight(partials, call);
      add_dbias(partials, call);
    };
  });
}

}  // namespace centavo
