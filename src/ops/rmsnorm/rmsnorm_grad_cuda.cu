// A block takes a fixed block of rows, one row at a time in the registers of a warp or of the block (rmsnorm_rows.cuh):
// dh, sum and dsum are read once, dx is written once. Each thread sums dweight of its columns in registers over the
// rows; the block writes them to the workspace once, and a second kernel adds the blocks. Moves the bytes of dh, dsum,
// sum and dx once, and 8 C bytes a block of rows, most of them inside the L2 cache.
//
// How rows are cut depends on their number alone, so the same bits come out of every GPU.

#include <algorithm>

#include "ops/rmsnorm/rmsnorm.h"
#include "ops/rmsnorm/rmsnorm_rows.cuh"

namespace centavo {
namespace {

constexpr int kAnyRowThreads = 256;
constexpr int kTile = 32;  // columns of a block of the second kernel, and its threads to a column

// About 512 blocks fill a GPU; more than 64 rows to a block save little.
int64_t block_rows_of(int64_t rows) { return std::clamp<int64_t>(ceil_div(rows, 512), 8, 64); }
int64_t blocks_of(int64_t rows) { return ceil_div(rows, block_rows_of(rows)); }

template <class T>
struct Backward {
  int64_t rows;
  int64_t columns;
  int64_t block_rows;
  const T *dh, *dsum, *sum, *weight;
  const float* rstd;
  T* dx;
  float* partials;  // [blocks, C]; null: dweight is not wanted
};

// sum over the thread's columns of dh * weight * sum
template <class S, class T>
__device__ float dot_of(const Vec<T> (&dh)[S::vecs], const Vec<T> (&weight)[S::vecs], const Vec<T> (&sum)[S::vecs]) {
  float dot = 0;
#pragma unroll
  for (int k = 0; k < S::vecs; ++k) {
#pragma unroll
    for (int e = 0; e < Vec<T>::size; ++e) {
      dot += to_float(dh[k].at[e]) * to_float(weight[k].at[e]) * to_float(sum[k].at[e]);
    }
  }
  return dot;
}

// One row: writes dx, adds to the thread's part of dweight. `shared` is for row_sum.
template <class S, class T>
__device__ void backward_row(const Backward<T>& f, int64_t row, int vectors, Vec<T> (&weight)[S::vecs], float* shared,
                             float (&dweight)[S::vecs][Vec<T>::size]) {
  const int64_t start = row * f.columns;
  Vec<T> dh[S::vecs], sum[S::vecs], dsum[S::vecs];
  const float rstd = f.rstd[row];
  load_row_streaming<S>(f.dh + start, vectors, dh);
  load_row_streaming<S>(f.sum + start, vectors, sum);
  load_row_streaming<S>(f.dsum + start, f.dsum == nullptr ? 0 : vectors, dsum);
  const float dot = row_sum<S>(dot_of<S>(dh, weight, sum), shared);
  const float mean = dot * rstd / static_cast<float>(f.columns);  // mean(g * xhat)
  forget<S>(dh);
  forget<S>(sum);
  forget<S>(weight);
#pragma unroll
  for (int k = 0; k < S::vecs; ++k) {
    const int at = vector_at<S>(k);
    Vec<T> dx;
#pragma unroll
    for (int e = 0; e < Vec<T>::size; ++e) {
      const float xhat = to_float(sum[k].at[e]) * rstd;
      const float d = to_float(dh[k].at[e]);
      dx.at[e] = from_float<T>(to_float(dsum[k].at[e]) + rstd * (d * to_float(weight[k].at[e]) - xhat * mean));
      dweight[k][e] += d * xhat;
    }
    if (at < vectors) dx.store(f.dx + start + at * Vec<T>::size);
  }
}

// The floats of one vector of T, in 16-byte accesses.
template <int kSize>
__device__ void store_floats(const float (&from)[kSize], float* to) {
#pragma unroll
  for (int e = 0; e < kSize; e += 4) {
    *reinterpret_cast<float4*>(to + e) = float4{from[e], from[e + 1], from[e + 2], from[e + 3]};
  }
}

// The block's sums; where each warp has rows of its own, those of the warps in order.
template <class S, class T>
__device__ void store_partials(const float (&dweight)[S::vecs][Vec<T>::size], int vectors, float* to) {
  constexpr int kSize = Vec<T>::size;
  if constexpr (S::rows == 1) {
#pragma unroll
    for (int k = 0; k < S::vecs; ++k) {
      const int at = vector_at<S>(k);
      if (at < vectors) store_floats(dweight[k], to + at * kSize);
    }
  } else {
    __shared__ alignas(16) float parts[S::rows][S::vecs * S::row_threads * kSize];
#pragma unroll
    for (int k = 0; k < S::vecs; ++k) {
      store_floats(dweight[k], parts[threadIdx.x / S::row_threads] + vector_at<S>(k) * kSize);
    }
    __syncthreads();
    for (int c = threadIdx.x; c < vectors * kSize; c += S::threads) {
      float total = 0;
#pragma unroll
      for (int r = 0; r < S::rows; ++r) total += parts[r][c];
      to[c] = total;
    }
  }
}

template <class S, class T>
__global__ void __launch_bounds__(S::threads, 512 / S::threads) backward_rows(const Backward<T> f) {
  __shared__ alignas(16) float shared[2][S::warps];
  const int vectors = static_cast<int>(f.columns) / Vec<T>::size;
  const int64_t first = blockIdx.x * f.block_rows;
  const int64_t end = min(first + f.block_rows, f.rows);
  Vec<T> weight[S::vecs];
  load_row<S>(f.weight, vectors, weight);
  float dweight[S::vecs][Vec<T>::size] = {};
  int turn = 0;
  for (int64_t row = first + threadIdx.x / S::row_threads; row < end; row += S::rows) {
    backward_row<S>(f, row, vectors, weight, shared[turn], dweight);
    turn ^= 1;
  }
  if (f.partials != nullptr) store_partials<S, T>(dweight, vectors, f.partials + blockIdx.x * f.columns);
}

// Rows of any width and alignment, read twice; dweight is summed in the workspace, a column by one thread.
template <class T>
__global__ void __launch_bounds__(kAnyRowThreads) backward_any_rows(const Backward<T> f) {
  __shared__ float shared[kAnyRowThreads / 32];
  const int64_t first = blockIdx.x * f.block_rows;
  const int64_t end = min(first + f.block_rows, f.rows);
  for (int64_t row = first; row < end; ++row) {
    const int64_t start = row * f.columns;
    float dot = 0;
    for (int64_t c = threadIdx.x; c < f.columns; c += kAnyRowThreads) {
      dot += to_float(f.dh[start + c]) * to_float(f.weight[c]) * to_float(f.sum[start + c]);
    }
    const float rstd = f.rstd[row];
    const float mean = block_sum<kAnyRowThreads>(dot, shared) * rstd / static_cast<float>(f.columns);
    for (int64_t c = threadIdx.x; c < f.columns; c += kAnyRowThreads) {
      const float xhat = to_float(f.sum[start + c]) * rstd;
      const float d = to_float(f.dh[start + c]);
      const float before = f.dsum == nullptr ? 0.0f : to_float(f.dsum[start + c]);
      f.dx[start + c] = from_float<T>(before + rstd * (d * to_float(f.weight[c]) - xhat * mean));
      if (f.partials == nullptr) continue;
      float* total = f.partials + blockIdx.x * f.columns + c;
      *total = (row == first ? 0.0f : *total) + d * xhat;
    }
  }
}

// dweight of kTile columns: each of kTile threads adds every kTile-th block in order, then these sums are added.
template <class G>
__global__ void __launch_bounds__(kTile* kTile)
    add_partials(const float* partials, int64_t blocks, int64_t columns, Bind bind, G* dweight) {
  __shared__ float sums[kTile][kTile + 1];
  const int64_t c = int64_t{blockIdx.x} * kTile + threadIdx.x;
  float total = 0;
  if (c < columns) {
#pragma unroll 8
    for (int64_t b = threadIdx.y; b < blocks; b += kTile) total += partials[b * columns + c];
  }
  sums[threadIdx.y][threadIdx.x] = total;
  __syncthreads();
  if (threadIdx.y != 0 || c >= columns) return;
  total = bind == Bind::add ? to_float(dweight[c]) : 0.0f;
#pragma unroll
  for (int t = 0; t < kTile; ++t) total += sums[t][threadIdx.x];
  dweight[c] = from_float<G>(total);
}

template <class T>
void launch_rows(const Backward<T>& f, cudaStream_t stream) {
  const unsigned blocks = blocks_for(f.rows, f.block_rows);
  if (fits_row_shapes<T>(f.columns) && aligned_for_vectors({f.dh, f.dsum, f.sum, f.weight, f.dx, f.partials})) {
    visit_row_shape(f.columns / Vec<T>::size, [&](auto shape) {
      using S = decltype(shape);
      backward_rows<S><<<blocks, S::threads, 0, stream>>>(f);
    });
  } else {
    backward_any_rows<<<blocks, kAnyRowThreads, 0, stream>>>(f);
  }
  check_launch("rmsnorm_grad");
}

template <class G>
void launch_add(const float* partials, int64_t rows, int64_t columns, Bind bind, G* dweight, cudaStream_t stream) {
  add_partials<<<blocks_for(columns, kTile), dim3(kTile, kTile), 0, stream>>>(partials, blocks_of(rows), columns, bind,
                                                                              dweight);
  check_launch("rmsnorm_grad, dweight");
}

}  // namespace

int64_t rmsnorm_grad_cuda_workspace(const OpView& v, const CudaTraits&) {
  return v.has_output(1) ? blocks_of(v.rows(0)) * v.columns(0) * static_cast<int64_t>(sizeof(float)) : 0;
}

CudaKernel rmsnorm_grad_cuda(const OpView& v, const CudaTraits&) {
  const int64_t rows = v.rows(0);
  const int64_t columns = v.columns(0);
  const bool wants_weight = v.has_output(1);
  const Bind bind = wants_weight ? v.op().outputs[1].bind : Bind::write;
  const DType gradient = wants_weight ? v.output(1).dtype : DType::f32;
  return visit_cuda(v.input(0).dtype, [&](auto tag) -> CudaKernel {
    using T = typename decltype(tag)::type;
    return visit_cuda(gradient, [&](auto gradient_tag) -> CudaKernel {
      using G = typename decltype(gradient_tag)::type;
      return [=](const CudaCall& call) {
        float* partials = wants_weight ? static_cast<float*>(call.workspace) : nullptr;
        const Backward<T> f{rows,          columns,       block_rows_of(rows), call.in<T>(0),  call.in<T>(1),
                            call.in<T>(2), call.in<T>(3), call.in<float>(4),   call.out<T>(0), partials};
        launch_rows(f, call.stream);
        if (wants_weight) launch_add(partials, rows, columns, bind, call.out<G>(1), call.stream);
      };
    });
  });
}

}  // namespace centavo
