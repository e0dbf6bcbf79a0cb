// A block takes a fixed block of rows, one row at a time in the registers of a warp or of the block (rmsnorm_rows.cuh):
// dh, sum and dsum are read once, dx is written once. Each thread sums dweight and dbias of its columns in registers
// over the rows; the block writes them to the workspace once, and a second kernel adds the blocks. Moves the bytes of
// dh, dsum, sum and dx once, and 16 C bytes a block of rows, most of them inside the L2 cache.
//
// How rows are cut depends on their number alone, so the same bits come out of every GPU.

#include <algorithm>

#include "ops/layernorm/layernorm.h"
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
  const float *mean, *rstd;
  T* dx;
  float* partials;  // [blocks, 2, C]: dweight, dbias; null: neither is wanted
};

// Sums over a row: of g = dh * weight, and of g * (sum - mean).
struct Sums {
  float g = 0;
  float gx = 0;
};

// Both sums over the threads of a row in each of them, for one barrier; `shared` holds a place for each warp.
template <class S>
__device__ Sums row_sums(Sums sums, Sums* shared) {
  sums = {warp_sum(sums.g), warp_sum(sums.gx)};
  if constexpr (S::row_threads == 32) {
    return sums;
  } else {
    if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = sums;
    __syncthreads();
    Sums total;
#pragma unroll
    for (int warp = 0; warp < S::warps; ++warp) {
      total.g += shared[warp].g;
      total.gx += shared[warp].gx;
    }
    return total;
  }
}

// The thread's part; vectors that the row does not have hold zeros in dh.
template <class S, class T>
__device__ Sums sums_of(const Vec<T> (&dh)[S::vecs], const Vec<T> (&weight)[S::vecs], const Vec<T> (&sum)[S::vecs],
                        float mean) {
  Sums sums;
#pragma unroll
  for (int k = 0; k < S::vecs; ++k) {
#pragma unroll
    for (int e = 0; e < Vec<T>::size; ++e) {
      const float g = to_float(dh[k].at[e]) * to_float(weight[k].at[e]);
      sums.g += g;
      sums.gx += g * (to_float(sum[k].at[e]) - mean);
    }
  }
  return sums;
}

// Of the thread's columns, over the rows of its block.
template <class S, class T>
struct ColumnSums {
  float dweight[S::vecs][Vec<T>::size] = {};
  float dbias[S::vecs][Vec<T>::size] = {};
};

// One row: writes dx, adds to the thread's part of dweight and dbias. `shared` is for row_sums.
template <class S, class T>
__device__ void backward_row(const Backward<T>& f, int64_t row, int vectors, Vec<T> (&weight)[S::vecs], Sums* shared,
                             ColumnSums<S, T>& columns) {
  const int64_t start = row * f.columns;
  Vec<T> dh[S::vecs], sum[S::vecs], dsum[S::vecs];
  const float mean = f.mean[row];
  const float rstd = f.rstd[row];
  load_row_streaming<S>(f.dh + start, vectors, dh);
  load_row_streaming<S>(f.sum + start, vectors, sum);
  load_row_streaming<S>(f.dsum + start, f.dsum == nullptr ? 0 : vectors, dsum);
  const Sums sums = row_sums<S>(sums_of<S>(dh, weight, sum, mean), shared);
  const float mean_g = sums.g / static_cast<float>(f.columns);
  const float mean_gx = sums.gx * rstd / static_cast<float>(f.columns);  // mean(g * xhat)
  forget<S>(dh);
  forget<S>(sum);
  forget<S>(weight);
#pragma unroll
  for (int k = 0; k < S::vecs; ++k) {
    const int at = vector_at<S>(k);
    Vec<T> dx;
#pragma unroll
    for (int e = 0; e < Vec<T>::size; ++e) {
      const float xhat = (to_float(sum[k].at[e]) - mean) * rstd;
      const float d = to_float(dh[k].at[e]);
      const float inner = d * to_float(weight[k].at[e]) - mean_g - xhat * mean_gx;
      dx.at[e] = from_float<T>(to_float(dsum[k].at[e]) + rstd * inner);
      columns.dweight[k][e] += d * xhat;
      columns.dbias[k][e] += d;
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
__device__ void store_partials(const float (&sums)[S::vecs][Vec<T>::size], int vectors, float* to) {
  constexpr int kSize = Vec<T>::size;
  if constexpr (S::rows == 1) {
#pragma unroll
    for (int k = 0; k < S::vecs; ++k) {
      const int at = vector_at<S>(k);
      if (at < vectors) store_floats(sums[k], to + at * kSize);
    }
  } else {
    __shared__ alignas(16) float parts[S::rows][S::vecs * S::row_threads * kSize];
    __syncthreads();  // the parts of the sums before have been read
#pragma unroll
    for (int k = 0; k < S::vecs; ++k) {
      store_floats(sums[k], parts[threadIdx.x / S::row_threads] + vector_at<S>(k) * kSize);
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

// Threads of a multiprocessor: the sums of four bf16 vectors and the rows beside them do not fit the registers that
// each of 512 threads may have.
template <class S, class T>
constexpr int resident_threads() {
  return S::vecs * Vec<T>::size >= 32 && S::threads <= 256 ? 384 : 512;
}

template <class S, class T>
__global__ void __launch_bounds__(S::threads, resident_threads<S, T>() / S::threads)
    backward_rows(const Backward<T> f) {
  __shared__ alignas(16) Sums shared[2][S::warps];
  const int vectors = static_cast<int>(f.columns) / Vec<T>::size;
  const int64_t first = blockIdx.x * f.block_rows;
  const int64_t end = min(first + f.block_rows, f.rows);
  Vec<T> weight[S::vecs];
  load_row<S>(f.weight, vectors, weight);
  ColumnSums<S, T> columns;
  int turn = 0;
  for (int64_t row = first + threadIdx.x / S::row_threads; row < end; row += S::rows) {
    backward_row<S>(f, row, vectors, weight, shared[turn], columns);
    turn ^= 1;
  }
  if (f.partials == nullptr) return;
  float* to = f.partials + blockIdx.x * 2 * f.columns;
  store_partials<S, T>(columns.dweight, vectors, to);
  store_partials<S, T>(columns.dbias, vectors, to + f.columns);
}

// Rows of any width and alignment, read twice; dweight and dbias are summed in the workspace, a column by one thread.
template <class T>
__global__ void __launch_bounds__(kAnyRowThreads) backward_any_rows(const Backward<T> f) {
  __shared__ float shared[kAnyRowThreads / 32];
  const int64_t first = blockIdx.x * f.block_rows;
  const int64_t end = min(first + f.block_rows, f.rows);
  for (int64_t row = first; row < end; ++row) {
    const int64_t start = row * f.columns;
    const float mean = f.mean[row];
    const float rstd = f.rstd[row];
    Sums sums;
    for (int64_t c = threadIdx.x; c < f.columns; c += kAnyRowThreads) {
      const float g = to_float(f.dh[start + c]) * to_float(f.weight[c]);
      sums.g += g;
      sums.gx += g * (to_float(f.sum[start + c]) - mean);
    }
    const float mean_g = block_sum<kAnyRowThreads>(sums.g, shared) / static_cast<float>(f.columns);
    const float mean_gx = block_sum<kAnyRowThreads>(sums.gx, shared) * rstd / static_cast<float>(f.columns);
    for (int64_t c = threadIdx.x; c < f.columns; c += kAnyRowThreads) {
      const float xhat = (to_float(f.sum[start + c]) - mean) * rstd;
      const float d = to_float(f.dh[start + c]);
      const float before = f.dsum == nullptr ? 0.0f : to_float(f.dsum[start + c]);
      f.dx[start + c] = from_float<T>(before + rstd * (d * to_float(f.weight[c]) - mean_g - xhat * mean_gx));
      if (f.partials == nullptr) continue;
      float* dweight = f.partials + blockIdx.x * 2 * f.columns + c;
      float* dbias = dweight + f.columns;
      *dweight = (row == first ? 0.0f : *dweight) + d * xhat;
      *dbias = (row == first ? 0.0f : *dbias) + d;
    }
  }
}

// A gradient of kTile columns: each of kTile threads adds every kTile-th block in order, then these sums are added.
// The sums of a block lie `stride` floats from those of the next.
template <class G>
__global__ void __launch_bounds__(kTile* kTile)
    add_partials(const float* partials, int64_t blocks, int64_t stride, int64_t columns, Bind bind, G* gradient) {
  __shared__ float sums[kTile][kTile + 1];
  const int64_t c = int64_t{blockIdx.x} * kTile + threadIdx.x;
  float total = 0;
  if (c < columns) {
#pragma unroll 8
    for (int64_t b = threadIdx.y; b < blocks; b += kTile) total += partials[b * stride + c];
  }
  sums[threadIdx.y][threadIdx.x] = total;
  __syncthreads();
  if (threadIdx.y != 0 || c >= columns) return;
  total = bind == Bind::add ? to_float(gradient[c]) : 0.0f;
#pragma unroll
  for (int t = 0; t < kTile; ++t) total += sums[t][threadIdx.x];
  gradient[c] = from_float<G>(total);
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
  check_launch("layernorm_grad");
}

using AddPartials = std::function<void(const float* partials, const CudaCall&)>;

// `output` is 1 (dweight) or 2 (dbias).
AddPartials add_partials_of(const OpView& v, size_t output) {
  if (!v.has_output(output)) return [](const float*, const CudaCall&) {};
  const int64_t blocks = blocks_of(v.rows(0));
  const int64_t columns = v.columns(0);
  const int64_t first = output == 1 ? 0 : columns;
  const Bind bind = v.op().outputs[output].bind;
  return visit_cuda(v.output(output).dtype, [&](auto tag) -> AddPartials {
    using G = typename decltype(tag)::type;
    return [=](const float* partials, const CudaCall& call) {
      add_partials<<<blocks_for(columns, kTile), dim3(kTile, kTile), 0, call.stream>>>(
          partials + first, blocks, 2 * columns, columns, bind, call.out<G>(output));
      check_launch("layernorm_grad, dweight and dbias");
    };
  });
}

bool wants_sums(const OpView& v) { return v.has_output(1) || v.has_output(2); }

}  // namespace

int64_t layernorm_grad_cuda_workspace(const OpView& v, const CudaTraits&) {
  return wants_sums(v) ? blocks_of(v.rows(0)) * 2 * v.columns(0) * static_cast<int64_t>(sizeof(float)) : 0;
}

CudaKernel layernorm_grad_cuda(const OpView& v, const CudaTraits&) {
  const int64_t rows = v.rows(0);
  const int64_t columns = v.columns(0);
  const bool sums = wants_sums(v);
  const AddPartials add_dweight = add_partials_of(v, 1);
  const AddPartials add_dbias = add_partials_of(v, 2);
  return visit_cuda(v.input(0).dtype, [&](auto tag) -> CudaKernel {
    using T = typename decltype(tag)::type;
    return [=](const CudaCall& call) {
      float* partials = sums ? static_cast<float*>(call.workspace) : nullptr;
      const Backward<T> f{rows,          columns,       block_rows_of(rows), call.in<T>(0),     call.in<T>(1),
                          call.in<T>(2), call.in<T>(3), call.in<float>(4),   call.in<float>(5), call.out<T>(0),
                          partials};
      launch_rows(f, call.stream);
      add_dweight(partials, call);
      add_dbias(partials, call);
    };
  });
}

}  // namespace centavo
