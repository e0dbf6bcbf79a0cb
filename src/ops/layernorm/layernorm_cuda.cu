// A row lies in the registers of one warp (up to 128 vectors of 16 bytes) or of one block: x and delta are read once,
// sum, h, mean and rstd written from there. Moves the bytes of x, delta, sum and h once; weight and bias come from the
// caches.
//
// h stays in the L2 cache for the product that reads it next; sum goes past it. Rows that no register shape fits (an
// odd width, an operand off the multiples of 16 bytes) take a block each and are read three times.

#include "ops/layernorm/layernorm.h"
#include "ops/rmsnorm/norm_forward.cuh"
#include "ops/rmsnorm/normed.cuh"

namespace centavo {
namespace {

constexpr int kAnyRowThreads = 256;

template <class T>
struct Forward {
  int64_t rows;
  int64_t columns;
  float eps;
  const T *x, *delta;
  const float *weight, *bias;
  T* h;
  float *mean, *rstd;
  T* sum;  // null: nobody asked for it

  template <class P>
  __device__ P* at(P* operand, int64_t row) const {
    return operand == nullptr ? nullptr : operand + row * columns;
  }
};

// Vectors that the row does not have hold zeros.
template <class S, class T>
__device__ float total_of(const Vec<T> (&x)[S::vecs]) {
  float total = 0;
#pragma unroll
  for (int k = 0; k < S::vecs; ++k) {
#pragma unroll
    for (int e = 0; e < Vec<T>::size; ++e) total += to_float(x[k].at[e]);
  }
  return total;
}

template <class S, class T>
__device__ float squares_of(const Vec<T> (&x)[S::vecs], float mean, int vectors) {
  float squares = 0;
#pragma unroll
  for (int k = 0; k < S::vecs; ++k) {
    if (vector_at<S>(k) >= vectors) continue;
#pragma unroll
    for (int e = 0; e < Vec<T>::size; ++e) {
      const float deviation = to_float(x[k].at[e]) - mean;
      squares += deviation * deviation;
    }
  }
  return squares;
}

// weight and bias are read here, from the caches: held over the sums they would take the registers of four rows.
template <class S, class T>
__device__ void store_normed(const Forward<T>& f, const Vec<T> (&x)[S::vecs], float mean, float rstd, int vectors,
                             T* row) {
  constexpr int kSize = Vec<T>::size;
#pragma unroll
  for (int k = 0; k < S::vecs; ++k) {
    const int at = vector_at<S>(k);
    if (at >= vectors) continue;
    float weight[kSize], bias[kSize];
    load_floats(f.weight + at * kSize, weight);
    load_floats(f.bias + at * kSize, bias);
    Vec<T> h;
#pragma unroll
    for (int e = 0; e < kSize; ++e) {
      h.at[e] = from_float<T>(normed((to_float(x[k].at[e]) - mean) * rstd, weight[e], bias[e]));
    }
    h.store(row + at * kSize);
  }
}

template <class S, class T>
__global__ void __launch_bounds__(S::threads) norm_rows(const Forward<T> f) {
  __shared__ alignas(16) float shared[2][S::warps];
  const int64_t row = int64_t{blockIdx.x} * S::rows + threadIdx.x / S::row_threads;
  if (row >= f.rows) return;  // a whole warp; a block with barriers has one row
  const int vectors = static_cast<int>(f.columns) / Vec<T>::size;
  Vec<T> x[S::vecs];
  load_sum<S>(f.at(f.x, row), f.at(f.delta, row), vectors, x, f.at(f.sum, row));
  const float mean = row_sum<S>(total_of<S>(x), shared[0]) / static_cast<float>(f.columns);
  const float rstd = rstd_of(row_sum<S>(squares_of<S>(x, mean, vectors), shared[1]), f.columns, f.eps);
  if (threadIdx.x % S::row_threads == 0) {
    f.mean[row] = mean;
    f.rstd[row] = rstd;
  }
  store_normed<S>(f, x, mean, rstd, vectors, f.at(f.h, row));
}

template <class T>
__global__ void __launch_bounds__(kAnyRowThreads) norm_any_row(const Forward<T> f) {
  __shared__ float shared[kAnyRowThreads / 32];
  const int64_t row = blockIdx.x;
  const int64_t begin = row * f.columns;
  const int64_t end = begin + f.columns;
  float total = 0;
  for (int64_t i = begin + threadIdx.x; i < end; i += kAnyRowThreads) {
    const T sum = summed(f.x, f.delta, i);
    if (f.sum != nullptr) f.sum[i] = sum;
    total += to_float(sum);
  }
  const float mean = block_sum<kAnyRowThreads>(total, shared) / static_cast<float>(f.columns);
  float squares = 0;
  for (int64_t i = begin + threadIdx.x; i < end; i += kAnyRowThreads) {
    const float deviation = to_float(summed(f.x, f.delta, i)) - mean;
    squares += deviation * deviation;
  }
  const float rstd = rstd_of(block_sum<kAnyRowThreads>(squares, shared), f.columns, f.eps);
  if (threadIdx.x == 0) {
    f.mean[row] = mean;
    f.rstd[row] = rstd;
  }
  for (int64_t i = begin + threadIdx.x; i < end; i += kAnyRowThreads) {
    const float xhat = (to_float(summed(f.x, f.delta, i)) - mean) * rstd;
    f.h[i] = from_float<T>(normed(xhat, f.weight[i - begin], f.bias[i - begin]));
  }
}

template <class T>
void launch(const Forward<T>& f, cudaStream_t stream) {
  visit_norm_kernel<T>(
      f.columns, {f.x, f.delta, f.weight, f.bias, f.h, f.sum},
      [&](auto shape) {
        using S = decltype(shape);
        norm_rows<S><<<blocks_for(f.rows, S::rows), S::threads, 0, stream>>>(f);
      },
      [&] { norm_any_row<<<blocks_for(f.rows, 1), kAnyRowThreads, 0, stream>>>(f); });
  check_launch("layernorm");
}

}  // namespace

CudaKernel layernorm_cuda(const OpView& v, const CudaTraits&) {
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
                         call.in<float>(3),
                         call.out<T>(0),
                         call.out<float>(1),
                         call.out<float>(2),
                         call.out<T>(3)};
      launch(f, call.stream);
    };
  });
}

}  // namespace centavo
