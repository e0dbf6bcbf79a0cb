// A row lies in the registers of one warp (up to 128 vectors of 16 bytes) or of one block: x and delta are read once,
// sum, h and rstd written from there. Moves the bytes of x, delta, sum and h once; weight comes from the caches.
//
// h stays in the L2 cache for the product that reads it next; sum goes past it. Rows that no register shape fits (an
// odd width, an operand off the multiples of 16 bytes) take a block each and are read twice.

#include "ops/rmsnorm/normed.cuh"
#include "ops/rmsnorm/rmsnorm.h"
#include "ops/rmsnorm/rmsnorm_rows.cuh"

namespace centavo {
namespace {

constexpr int kAnyRowThreads = 256;

template <class T>
struct Forward {
  int64_t rows;
  int64_t columns;
  float eps;
  const T *x, *delta, *weight;
  T* h;
  float* rstd;
  T* sum;  // null: nobody asked for it
};

__device__ inline float rstd_of(float squares, int64_t columns, float eps) {
  return 1.0f / sqrtf(squares / static_cast<float>(columns) + eps);
}

// x += delta, each sum rounded to T.
template <class S, class T>
__device__ void add_row(const Vec<T> (&delta)[S::vecs], Vec<T> (&x)[S::vecs]) {
#pragma unroll
  for (int k = 0; k < S::vecs; ++k) {
#pragma unroll
    for (int e = 0; e < Vec<T>::size; ++e) {
      x[k].at[e] = from_float<T>(to_float(x[k].at[e]) + to_float(delta[k].at[e]));
    }
  }
}

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

template <class S, class T>
__device__ void store_row_streaming(const Vec<T> (&x)[S::vecs], int vectors, T* row) {
#pragma unroll
  for (int k = 0; k < S::vecs; ++k) {
    const int at = vector_at<S>(k);
    if (at < vectors) x[k].store_streaming(row + at * Vec<T>::size);
  }
}

template <class S, class T>
__device__ void store_normed(const Vec<T> (&x)[S::vecs], const Vec<T> (&weight)[S::vecs], float rstd, int vectors,
                             T* row) {
#pragma unroll
  for (int k = 0; k < S::vecs; ++k) {
    const int at = vector_at<S>(k);
    Vec<T> h;
#pragma unroll
    for (int e = 0; e < Vec<T>::size; ++e) {
      h.at[e] = from_float<T>(normed(to_float(x[k].at[e]) * rstd, to_float(weight[k].at[e])));
    }
    if (at < vectors) h.store(row + at * Vec<T>::size);
  }
}

template <class S, class T>
__global__ void __launch_bounds__(S::threads) norm_rows(const Forward<T> f) {
  __shared__ alignas(16) float shared[S::warps];
  const int64_t row = int64_t{blockIdx.x} * S::rows + threadIdx.x / S::row_threads;
  if (row >= f.rows) return;  // a whole warp; a block with barriers has one row
  const int vectors = static_cast<int>(f.columns) / Vec<T>::size;
  const int64_t at = row * f.columns;
  Vec<T> x[S::vecs], weight[S::vecs];
  load_row_streaming<S>(f.x + at, vectors, x);
  if (f.delta != nullptr) {
    Vec<T> delta[S::vecs];
    load_row_streaming<S>(f.delta + at, vectors, delta);
    load_row<S>(f.weight, vectors, weight);
    add_row<S>(delta, x);
    if (f.sum != nullptr) store_row_streaming<S>(x, vectors, f.sum + at);
  } else {
    load_row<S>(f.weight, vectors, weight);
  }
  const float rstd = rstd_of(row_sum<S>(squares_of<S>(x), shared), f.columns, f.eps);
  if (threadIdx.x % S::row_threads == 0) f.rstd[row] = rstd;
  store_normed<S>(x, weight, rstd, vectors, f.h + at);
}

template <class T>
__device__ T summed(const Forward<T>& f, int64_t i) {
  return f.delta == nullptr ? f.x[i] : from_float<T>(to_float(f.x[i]) + to_float(f.delta[i]));
}

template <class T>
__global__ void __launch_bounds__(kAnyRowThreads) norm_any_row(const Forward<T> f) {
  __shared__ float shared[kAnyRowThreads / 32];
  const int64_t row = blockIdx.x;
  const int64_t end = (row + 1) * f.columns;
  float squares = 0;
  for (int64_t i = row * f.columns + threadIdx.x; i < end; i += kAnyRowThreads) {
    const T sum = summed(f, i);
    if (f.sum != nullptr) f.sum[i] = sum;
    squares += to_float(sum) * to_float(sum);
  }
  const float rstd = rstd_of(block_sum<kAnyRowThreads>(squares, shared), f.columns, f.eps);
  if (threadIdx.x == 0) f.rstd[row] = rstd;
  for (int64_t i = row * f.columns + threadIdx.x; i < end; i += kAnyRowThreads) {
    f.h[i] = from_float<T>(normed(to_float(summed(f, i)) * rstd, to_float(f.weight[i - row * f.columns])));
  }
}

template <class T>
void launch(const Forward<T>& f, cudaStream_t stream) {
  if (fits_row_shapes<T>(f.columns) && aligned_for_vectors({f.x, f.delta, f.weight, f.h, f.sum})) {
    visit_row_shape(f.columns / Vec<T>::size, [&](auto shape) {
      using S = decltype(shape);
      norm_rows<S><<<blocks_for(f.rows, S::rows), S::threads, 0, stream>>>(f);
    });
  } else {
    norm_any_row<<<blocks_for(f.rows, 1), kAnyRowThreads, 0, stream>>>(f);
  }
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
      const Forward<T> f{
          rows,          columns, eps, call.in<T>(0), call.in<T>(1), call.in<T>(2), call.out<T>(0), call.out<float>(1),
          call.out<T>(2)};
      launch(f, call.stream);
    };
  });
}

}  // namespace centavo
