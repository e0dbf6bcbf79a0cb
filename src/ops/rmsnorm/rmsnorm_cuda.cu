// A row lies in the registers of one warp (up to 128 vectors of 16 bytes) or of one block: x and delta are read once,
// sum, h and rstd written from there. Moves the bytes of x, delta, sum and h once; weight comes from the caches.
//
// h stays in the L2 cache for the product that reads it next; sum goes past it. Rows that no register shape fits (an
// odd width, an operand off the multiples of 16 bytes) take a block each and are read twice.

#include "ops/rmsnorm/norm_forward.cuh"
#include "ops/rmsnorm/normed.cuh"
#include "ops/rmsnorm/rmsnorm.h"

namespace centavo {
namespace {

constexpr int kAnyRowThreads = 256;

template <class T>
struct Forward {
  int64_t rows;
  int64_t columns;
  float eps;
  const T *x, *delta;
  const float* weight;
  T* h;
  float* rstd;
  T* sum;  // null: nobody asked for it

  template <class P>
  __device__ P* at(P* operand, int64_t row) const {
    return operand == nullptr ? nullptr : operand + row * columns;
  }
};

template <class S, class T>
__device__ float squares_of(const Vec<T> (&x)[S::vecs]) {
  float squares = 0;
#pragma unroll
  for (int k = 0; k < S::vecs; ++k) {
#pragma unroll
    for (int e = 0; e < Vec<T>::size; ++e) squares += to_float(x[k].at[e]) * to_float(x[k].at[e]);
  }
  return squares;
}

// weight is read here, from the caches: held over the sum it would take the registers of two rows.
template <class S, class T>
__device__ void store_normed(const Vec<T> (&x)[S::vecs], const float* weights, float rstd, int vectors, T* row) {
  constexpr int kSize = Vec<T>::size;
#pragma unroll
  for (int k = 0; k < S::vecs; ++k) {
    const int at = vector_at<S>(k);
    if (at >= vectors) continue;
    float weight[kSize];
    load_floats(weights + at * kSize, weight);
    Vec<T> h;
#pragma unroll
    for (int e = 0; e < kSize; ++e) h.at[e] = from_float<T>(normed(to_float(x[k].at[e]) * rstd, weight[e]));
    h.store(row + at * kSize);
  }
}

template <class S, class T>
__global__ void __launch_bounds__(S::threads) norm_rows(const Forward<T> f) {
  __shared__ alignas(16) float shared[S::warps];
  const int64_t row = int64_t{blockIdx.x} * S::rows + threadIdx.x / S::row_threads;
  if (row >= f.rows) return;  // a whole warp; a block with barriers has one row
  const int vectors = static_cast<int>(f.columns) / Vec<T>::size;
  Vec<T> x[S::vecs];
  load_sum<S>(f.at(f.x, row), f.at(f.delta, row), vectors, x, f.at(f.sum, row));
  const float rstd = rstd_of(row_sum<S>(squares_of<S>(x), shared), f.columns, f.eps);
  if (threadIdx.x % S::row_threads == 0) f.rstd[row] = rstd;
  store_normed<S>(x, f.weight, rstd, vectors, f.at(f.h, row));
}

template <class T>
__global__ void __launch_bounds__(kAnyRowThreads) norm_any_row(const Forward<T> f) {
  __shared__ float shared[kAnyRowThreads / 32];
  const int64_t row = blockIdx.x;
  const int64_t end = (row + 1) * f.columns;
  float squares = 0;
  for (int64_t i = row * f.columns + threadIdx.x; i < end; i += kAnyRowThreads) {
    const T sum = summed(f.x, f.delta, i);
    if (f.sum != nullptr) f.sum[i] = sum;
    squares += to_float(sum) * to_float(sum);
  }
  const float rstd = rstd_of(block_sum<kAnyRowThreads>(squares, shared), f.columns, f.eps);
  if (threadIdx.x == 0) f.rstd[row] = rstd;
  for (int64_t i = row * f.columns + threadIdx.x; i < end; i += kAnyRowThreads) {
    f.h[i] = from_float<T>(normed(to_float(summed(f.x, f.delta, i)) * rstd, f.weight[i - row * f.columns]));
  }
}

template <class T>
void launch(const Forward<T>& f, cudaStream_t stream) {
  visit_norm_kernel<T>(
      f.columns, {f.x, f.delta, f.weight, f.h, f.sum},
      [&](auto shape) {
        using S = decltype(shape);
        norm_rows<S><<<blocks_for(f.rows, S::rows), S::threads, 0, stream>>>(f);
      },
      [&] { norm_any_row<<<blocks_for(f.rows, 1), kAnyRowThreads, 0, stream>>>(f); });
  check_launch("rmsnorm");
}

}  // namespace

CudaKernel rmsnorm_cuda(const OpView& v, const CudaTraits&) {
  const int64_t rows = v.rows(0);
  const int64_t columns = v.columns(0);
  const float eps = static_cast<float>(v.real("eps"));
  return visit_cuda(v.input(0).dtype, [&](auto tag) -> CudaKernel {
    using T = typename decltype(tag)::type;
    return [=](const CudaCall& call) {
      const Forward<T> f{rows,
                         columns,
                         eps,
                         call.in<T>(0),
                         call.in<T>(1),
                         call.in<float>(2),
                         call.out<T>(0),
                         call.out<float>(1),
                         call.out<T>(2)};
      launch(f, call.stream);
    };
  });
}

}  // namespace centavo
