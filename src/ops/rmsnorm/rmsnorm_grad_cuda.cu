// A block takes a fixed block of rows, one row at a time in the registers of a warp or of the block (rmsnorm_rows.cuh):
// dh, sum and dsum are read once, dx is written once; weight comes from the L1 cache. The next row is on its way to
// shared memory while one is worked on, so that memory never waits for arithmetic: about 80 KiB of a multiprocessor.
// Each thread sums dweight of its columns in registers over the rows; the block writes them to the workspace once, and
// a second kernel adds the blocks. Moves the bytes of dh, dsum, sum and dx once, and 8 C bytes a block of rows, most of
// them inside the L2 cache; where h is wanted its bytes as well. It may lie where dh does: each thread writes of it
// what it has read of dh.
//
// How rows are cut depends on the shape alone, so the same bits come out of every GPU.

#include "ops/cuda/floats.cuh"
#include "ops/rmsnorm/norm_backward.cuh"
#include "ops/rmsnorm/normed.cuh"
#include "ops/rmsnorm/rmsnorm.h"

namespace centavo {
namespace {

constexpr int kAnyRowThreads = 256;

template <class T>
struct Backward {
  RowBlocks blocks;
  int64_t columns;
  const T *dh, *dsum, *sum;
  const float *weight, *rstd;
  T *dx, *h;        // h: with kWithH
  float* partials;  // [blocks, C]; null: dweight is not wanted

  __device__ NormOperands<T> operands() const { return {dh, sum, dsum, columns}; }
};

// sum over the thread's columns of dh * weight * sum
template <class S, class T>
__device__ float dot_of(const NormRow<S, T>& row, const float* weights, int vectors) {
  constexpr int kSize = Vec<T>::size;
  float dot = 0;
#pragma unroll
  for (int k = 0; k < S::vecs; ++k) {
    float dh[kSize], weight[kSize], sum[kSize];
    unpack(row.dh[k].at, dh);
    load_floats_of_row<S>(weights, k, vectors, weight);
    unpack(row.sum[k].at, sum);
#pragma unroll
    for (int e = 0; e < kSize; ++e) dot += dh[e] * weight[e] * sum[e];
  }
  return dot;
}

// dx of one vector from dsum, in its place; adds to dweight. `mean` is that of g * xhat.
template <int kSize>
__device__ void backward_vector(const float (&dh)[kSize], const float (&weight)[kSize], const float (&sum)[kSize],
                                float rstd, float mean, float (&dx)[kSize], float (&dweight)[kSize]) {
#pragma unroll
  for (int e = 0; e < kSize; ++e) {
    const float xhat = sum[e] * rstd;
    dx[e] += rstd * (dh[e] * weight[e] - xhat * mean);
    dweight[e] += dh[e] * xhat;
  }
}

// sum becomes h.
template <int kSize>
__device__ void to_normed(float (&sum)[kSize], const float (&weight)[kSize], float rstd) {
#pragma unroll
  for (int e = 0; e < kSize; ++e) sum[e] = normed(sum[e] * rstd, weight[e]);
}

template <bool kWithH, class S, class T>
__device__ void backward_row(const Backward<T>& f, int64_t at_row, float rstd, float mean, int vectors,
                             const NormRow<S, T>& row, float (&dweight)[S::vecs][Vec<T>::size]) {
  constexpr int kSize = Vec<T>::size;
  const int64_t start = at_row * f.columns;
#pragma unroll
  for (int k = 0; k < S::vecs; ++k) {
    float dh[kSize], weight[kSize], sum[kSize], dx[kSize];
    unpack(row.dh[k].at, dh);
    load_floats_of_row<S>(f.weight, k, vectors, weight);
    unpack(row.sum[k].at, sum);
    unpack(row.dsum[k].at, dx);
    backward_vector(dh, weight, sum, rstd, mean, dx, dweight[k]);
    Vec<T> packed;
    pack(dx, packed.at);
    const int at = vector_at<S>(k);
    if (at < vectors) packed.store_global(f.dx + start + at * kSize);
    if constexpr (kWithH) {
      to_normed(sum, weight, rstd);
      pack(sum, packed.at);
      if (at < vectors) packed.store_global(f.h + start + at * kSize);
    }
  }
}

template <class S>
constexpr int kResidentBlocks = 512 / S::threads;

template <bool kWithH, class S, class T>
__global__ void __launch_bounds__(S::threads, kResidentBlocks<S>) backward_rows(const Backward<T> f) {
  extern __shared__ int4 next_row[];
  __shared__ alignas(16) float shared[2][S::warps];
  const int vectors = static_cast<int>(f.columns) / Vec<T>::size;
  const int64_t first = f.blocks.begin(blockIdx.x) + threadIdx.x / S::row_threads;
  const int64_t end = f.blocks.begin(blockIdx.x + int64_t{1});
  NextNormRow<S, T> next(next_row, f.dsum != nullptr);
  float next_rstd = 0;
  const auto begin = [&](int64_t row) {
    next_rstd = f.rstd[row];
    next.begin(f.operands(), row, vectors);
  };
  if (first < end) begin(first);
  float dweight[S::vecs][Vec<T>::size] = {};
  int turn = 0;
  for (int64_t at = first; at < end; at += S::rows) {
    NormRow<S, T> row = next.take();
    const float rstd = next_rstd;
    const float dot = dot_of<S>(row, f.weight, vectors);
    // Behind the dot product, which needs dh and sum from there; dsum was loaded before it.
    if (at + S::rows < end) begin(at + S::rows);
    const float mean = row_sum<S>(dot, shared[turn]) * rstd / static_cast<float>(f.columns);
    forget<S>(row.dh);
    forget<S>(row.sum);
    backward_row<kWithH, S>(f, at, rstd, mean, vectors, row, dweight);
    turn ^= 1;
  }
  if (f.partials != nullptr) store_norm_partials<S, T>(dweight, vectors, f.partials + blockIdx.x * f.columns);
}

// Rows of any width and alignment, read twice; dweight is summed in the workspace, a column by one thread.
template <bool kWithH, class T>
__global__ void __launch_bounds__(kAnyRowThreads) backward_any_rows(const Backward<T> f) {
  __shared__ float shared[kAnyRowThreads / 32];
  const int64_t first = f.blocks.begin(blockIdx.x);
  const int64_t end = f.blocks.begin(blockIdx.x + int64_t{1});
  for (int64_t row = first; row < end; ++row) {
    const int64_t start = row * f.columns;
    float dot = 0;
    for (int64_t c = threadIdx.x; c < f.columns; c += kAnyRowThreads) {
      dot += to_float(f.dh[start + c]) * f.weight[c] * to_float(f.sum[start + c]);
    }
    const float rstd = f.rstd[row];
    const float mean = block_sum<kAnyRowThreads>(dot, shared) * rstd / static_cast<float>(f.columns);
    for (int64_t c = threadIdx.x; c < f.columns; c += kAnyRowThreads) {
      const float xhat = to_float(f.sum[start + c]) * rstd;
      const float d = to_float(f.dh[start + c]);
      const float before = f.dsum == nullptr ? 0.0f : to_float(f.dsum[start + c]);
      f.dx[start + c] = from_float<T>(before + rstd * (d * f.weight[c] - xhat * mean));
      if constexpr (kWithH) f.h[start + c] = from_float<T>(normed(xhat, f.weight[c]));
      if (f.partials == nullptr) continue;
      float* total = f.partials + blockIdx.x * f.columns + c;
      *total = (row == first ? 0.0f : *total) + d * xhat;
    }
  }
}

// Lets the kernel for rows of this width have its shared memory.
template <bool kWithH, class T>
void prepare_rows(int64_t columns) {
  if (!fits_row_shapes<T>(columns)) return;
  visit_row_shape(columns / Vec<T>::size, [](auto shape) {
    using S = decltype(shape);
    cuda_check(cudaFuncSetAttribute(backward_rows<kWithH, S, T>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                    NextNormRow<S, T>::bytes),
               "rmsnorm_grad, shared memory");
  });
}

template <bool kWithH, class T>
void launch_rows(const Backward<T>& f, cudaStream_t stream) {
  const unsigned blocks = blocks_for(f.blocks.count, 1);
  visit_norm_kernel<T>(
      f.columns, {f.dh, f.dsum, f.sum, f.weight, f.dx, f.h, f.partials},
      [&](auto shape) {
        using S = decltype(shape);
        backward_rows<kWithH, S><<<blocks, S::threads, NextNormRow<S, T>::bytes, stream>>>(f);
      },
      [&] { backward_any_rows<kWithH><<<blocks, kAnyRowThreads, 0, stream>>>(f); });
  check_launch("rmsnorm_grad");
}

RowBlocks blocks_of(const OpView& v) {
  return visit_cuda(v.input(0).dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    return cut_rows<T>(v.rows(0), v.columns(0), [](auto shape) { return kResidentBlocks<decltype(shape)>; });
  });
}

}  // namespace

int64_t rmsnorm_grad_cuda_workspace(const OpView& v, const CudaTraits&) {
  return v.has_output(1) ? blocks_of(v).count * v.columns(0) * static_cast<int64_t>(sizeof(float)) : 0;
}

CudaKernel rmsnorm_grad_cuda(const OpView& v, const CudaTraits&) {
  const RowBlocks blocks = blocks_of(v);
  const int64_t columns = v.columns(0);
  const bool wants_weight = v.has_output(1);
  const Bind bind = wants_weight ? v.op().outputs[1].bind : Bind::write;
  const DType gradient = wants_weight ? v.output(1).dtype : DType::f32;
  return visit_cuda(v.input(0).dtype, [&](auto tag) -> CudaKernel {
    using T = typename decltype(tag)::type;
    const bool with_h = v.has_output(2);
    with_h ? prepare_rows<true, T>(columns) : prepare_rows<false, T>(columns);
    return visit_cuda(gradient, [&](auto gradient_tag) -> CudaKernel {
      using G = typename decltype(gradient_tag)::type;
      return [=](const CudaCall& call) {
        float* partials = wants_weight ? static_cast<float*>(call.workspace) : nullptr;
        const Backward<T> f{blocks,         columns,           call.in<T>(0),     call.in<T>(1),
                            call.in<T>(2),  call.in<float>(3), call.in<float>(4), call.out<T>(0),
                            call.out<T>(2), partials};
        with_h ? launch_rows<true>(f, call.stream) : launch_rows<false>(f, call.stream);
        if (!wants_weight) return;
        launch_add_norm_partials(partials, blocks.count, columns, columns, bind, call.out<G>(1), call.stream);
      };
    });
  });
}

}  // namespace centavo
