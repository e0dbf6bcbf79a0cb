// A block takes a fixed block of rows, one row at a time in the registers of a warp or of the block (rmsnorm_rows.cuh):
// dh, sum and dsum are read once, dx is written once. The next row is on its way to shared memory while one is worked
// on (norm_backward.cuh). Each thread sums dweight and dbias of its columns in registers over the rows; the block
// writes them to the workspace once, and a second kernel adds the blocks. Moves the bytes of dh, dsum, sum and dx once,
// and 16 C bytes a block of rows, most of them inside the L2 cache; where h is wanted its bytes as well. It may lie
// where dh does: each thread writes of it what it has read of dh. Weight and bias come from the L1 cache.
//
// How rows are cut depends on the shape alone, so the same bits come out of every GPU.

#include "ops/cuda/floats.cuh"
#include "ops/layernorm/layernorm.h"
#include "ops/rmsnorm/norm_backward.cuh"
#include "ops/rmsnorm/normed.cuh"

namespace centavo {
namespace {

constexpr int kAnyRowThreads = 256;

template <class T>
struct Backward {
  RowBlocks blocks;
  int64_t columns;
  const T *dh, *dsum, *sum;
  const float *weight, *mean, *rstd;
  const float* bias;  // with kWithH
  T *dx, *h;          // h: with kWithH
  float* partials;    // [blocks, 2, C]: dweight, dbias; null: neither is wanted

  __device__ NormOperands<T> operands() const { return {dh, sum, dsum, columns}; }
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
__device__ Sums sums_of(const NormRow<S, T>& row, const float* weights, float mean, int vectors) {
  constexpr int kSize = Vec<T>::size;
  Sums sums;
#pragma unroll
  for (int k = 0; k < S::vecs; ++k) {
    float dh[kSize], weight[kSize], sum[kSize];
    unpack(row.dh[k].at, dh);
    load_floats_of_row<S>(weights, k, vectors, weight);
    unpack(row.sum[k].at, sum);
#pragma unroll
    for (int e = 0; e < kSize; ++e) {
      const float g = dh[e] * weight[e];
      sums.g += g;
      sums.gx += g * (sum[e] - mean);
    }
  }
  return sums;
}

// Of one row: mean and rstd from the forward, the means of g and of g * xhat.
struct RowMeans {
  float mean, rstd, g, gx;
};

// Of the thread's columns, over the rows of its block.
template <class S, class T>
struct ColumnSums {
  float dweight[S::vecs][Vec<T>::size] = {};
  float dbias[S::vecs][Vec<T>::size] = {};
};

// sum becomes h.
template <int kSize>
__device__ void to_normed(float (&sum)[kSize], const RowMeans& means, const float (&weight)[kSize],
                          const float (&bias)[kSize]) {
#pragma unroll
  for (int e = 0; e < kSize; ++e) sum[e] = normed((sum[e] - means.mean) * means.rstd, weight[e], bias[e]);
}

// Writes dx of a row, and h, adds to the thread's part of dweight and dbias.
template <bool kWithH, class S, class T>
__device__ void backward_row(const Backward<T>& f, int64_t at_row, const NormRow<S, T>& row, const RowMeans& means,
                             int vectors, ColumnSums<S, T>& columns) {
  constexpr int kSize = Vec<T>::size;
  const int64_t start = at_row * f.columns;
#pragma unroll
  for (int k = 0; k < S::vecs; ++k) {
    float dh[kSize], weight[kSize], sum[kSize], dx[kSize];
    unpack(row.dh[k].at, dh);
    load_floats_of_row<S>(f.weight, k, vectors, weight);
    unpack(row.sum[k].at, sum);
    unpack(row.dsum[k].at, dx);
#pragma unroll
    for (int e = 0; e < kSize; ++e) {
      const float xhat = (sum[e] - means.mean) * means.rstd;
      dx[e] += means.rstd * (dh[e] * weight[e] - means.g - xhat * means.gx);
      columns.dweight[k][e] += dh[e] * xhat;
      columns.dbias[k][e] += dh[e];
    }
    Vec<T> packed;
    pack(dx, packed.at);
    const int at = vector_at<S>(k);
    if (at >= vectors) continue;
    packed.store_global(f.dx + start + at * kSize);
    if constexpr (kWithH) {
      float bias[kSize];
      load_floats(f.bias + at * kSize, bias);
      to_normed(sum, means, weight, bias);
      pack(sum, packed.at);
      packed.store_global(f.h + start + at * kSize);
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
constexpr int kResidentBlocks = resident_threads<S, T>() / S::threads;

template <bool kWithH, class S, class T>
__global__ void __launch_bounds__(S::threads, kResidentBlocks<S, T>) backward_rows(const Backward<T> f) {
  extern __shared__ int4 next_row[];
  __shared__ alignas(16) Sums shared[2][S::warps];
  const int vectors = static_cast<int>(f.columns) / Vec<T>::size;
  const int64_t first = f.blocks.begin(blockIdx.x) + threadIdx.x / S::row_threads;
  const int64_t end = f.blocks.begin(blockIdx.x + int64_t{1});
  NextNormRow<S, T> next(next_row, f.dsum != nullptr);
  float next_mean = 0;
  float next_rstd = 0;
  const auto begin = [&](int64_t row) {
    next_mean = f.mean[row];
    next_rstd = f.rstd[row];
    next.begin(f.operands(), row, vectors);
  };
  if (first < end) begin(first);
  ColumnSums<S, T> columns;
  int turn = 0;
  for (int64_t at = first; at < end; at += S::rows) {
    NormRow<S, T> row = next.take();
    RowMeans means{next_mean, next_rstd, 0, 0};
    const Sums part = sums_of<S>(row, f.weight, means.mean, vectors);
    // Behind the sums, which need dh and sum from there; dsum was loaded before them.
    if (at + S::rows < end) begin(at + S::rows);
    const Sums sums = row_sums<S>(part, shared[turn]);
    means.g = sums.g / static_cast<float>(f.columns);
    means.gx = sums.gx * means.rstd / static_cast<float>(f.columns);
    forget<S>(row.dh);
    forget<S>(row.sum);
    backward_row<kWithH>(f, at, row, means, vectors, columns);
    turn ^= 1;
  }
  if (f.partials == nullptr) return;
  float* to = f.partials + blockIdx.x * 2 * f.columns;
  store_norm_partials<S, T>(columns.dweight, vectors, to);
  __syncthreads();  // dweight has been read from the shared memory that dbias goes to
  store_norm_partials<S, T>(columns.dbias, vectors, to + f.columns);
}

// Rows of any width and alignment, read twice; dweight and dbias are summed in the workspace, a column by one thread.
template <bool kWithH, class T>
__global__ void __launch_bounds__(kAnyRowThreads) backward_any_rows(const Backward<T> f) {
  __shared__ float shared[kAnyRowThreads / 32];
  const int64_t first = f.blocks.begin(blockIdx.x);
  const int64_t end = f.blocks.begin(blockIdx.x + int64_t{1});
  for (int64_t row = first; row < end; ++row) {
    const int64_t start = row * f.columns;
    const float mean = f.mean[row];
    const float rstd = f.rstd[row];
    Sums sums;
    for (int64_t c = threadIdx.x; c < f.columns; c += kAnyRowThreads) {
      const float g = to_float(f.dh[start + c]) * f.weight[c];
      sums.g += g;
      sums.gx += g * (to_float(f.sum[start + c]) - mean);
    }
    const float mean_g = block_sum<kAnyRowThreads>(sums.g, shared) / static_cast<float>(f.columns);
    const float mean_gx = block_sum<kAnyRowThreads>(sums.gx, shared) * rstd / static_cast<float>(f.columns);
    for (int64_t c = threadIdx.x; c < f.columns; c += kAnyRowThreads) {
      const float xhat = (to_float(f.sum[start + c]) - mean) * rstd;
      const float d = to_float(f.dh[start + c]);
      const float before = f.dsum == nullptr ? 0.0f : to_float(f.dsum[start + c]);
      f.dx[start + c] = from_float<T>(before + rstd * (d * f.weight[c] - mean_g - xhat * mean_gx));
      if constexpr (kWithH) {
        f.h[start + c] = from_float<T>(normed(xhat, f.weight[c], f.bias[c]));
      }
      if (f.partials == nullptr) continue;
      float* dweight = f.partials + blockIdx.x * 2 * f.columns + c;
      float* dbias = dweight + f.columns;
      *dweight = (row == first ? 0.0f : *dweight) + d * xhat;
      *dbias = (row == first ? 0.0f : *dbias) + d;
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
               "layernorm_grad, shared memory");
  });
}

template <bool kWithH, class T>
void launch_rows(const Backward<T>& f, cudaStream_t stream) {
  const unsigned blocks = blocks_for(f.blocks.count, 1);
  visit_norm_kernel<T>(
      f.columns, {f.dh, f.dsum, f.sum, f.weight, f.bias, f.dx, f.h, f.partials},
      [&](auto shape) {
        using S = decltype(shape);
        backward_rows<kWithH, S><<<blocks, S::threads, NextNormRow<S, T>::bytes, stream>>>(f);
      },
      [&] { backward_any_rows<kWithH><<<blocks, kAnyRowThreads, 0, stream>>>(f); });
  check_launch("layernorm_grad");
}

RowBlocks blocks_of(const OpView& v) {
  return visit_cuda(v.input(0).dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    return cut_rows<T>(v.rows(0), v.columns(0), [](auto shape) { return kResidentBlocks<decltype(shape), T>; });
  });
}

bool wants_sums(const OpView& v) { return v.has_output(1) || v.has_output(2); }

// One of the two gradients; null: not wanted.
template <class G>
struct Gradient {
  G* to;
  Bind bind;
};

// dweight by the blocks of blockIdx.y 0, dbias by the others.
template <class W, class B>
__global__ void __launch_bounds__(kNormTile* kNormParts)
    add_partials(const float* partials, int64_t blocks, int64_t columns, Gradient<W> dweight, Gradient<B> dbias) {
  if (blockIdx.y == 0) {
    if (dweight.to != nullptr) add_norm_columns(partials, blocks, 2 * columns, columns, dweight.bind, dweight.to);
  } else {
    if (dbias.to != nullptr) add_norm_columns(partials + columns, blocks, 2 * columns, columns, dbias.bind, dbias.to);
  }
}

using AddPartials = std::function<void(const float* partials, const CudaCall&)>;

AddPartials add_partials_of(const OpView& v) {
  if (!wants_sums(v)) return [](const float*, const CudaCall&) {};
  const int64_t columns = v.columns(0);
  const int64_t blocks = blocks_of(v).count;
  const auto dtype_of = [&](size_t output) { return v.has_output(output) ? v.output(output).dtype : DType::f32; };
  const auto bind_of = [&](size_t output) { return v.has_output(output) ? v.op().outputs[output].bind : Bind::write; };
  const Bind weight_bind = bind_of(1), bias_bind = bind_of(2);
  return visit_cuda(dtype_of(1), [&](auto weight_tag) -> AddPartials {
    return visit_cuda(dtype_of(2), [&](auto bias_tag) -> AddPartials {
      using W = typename decltype(weight_tag)::type;
      using B = typename decltype(bias_tag)::type;
      return [=](const float* partials, const CudaCall& call) {
        add_partials<<<dim3(blocks_for(columns, kNormTile), 2), dim3(kNormTile, kNormParts), 0, call.stream>>>(
            partials, blocks, columns, Gradient<W>{call.out<W>(1), weight_bind},
            Gradient<B>{call.out<B>(2), bias_bind});
        check_launch("the sums of layernorm_grad");
      };
    });
  });
}

}  // namespace

int64_t layernorm_grad_cuda_workspace(const OpView& v, const CudaTraits&) {
  return wants_sums(v) ? blocks_of(v).count * 2 * v.columns(0) * static_cast<int64_t>(sizeof(float)) : 0;
}

CudaKernel layernorm_grad_cuda(const OpView& v, const CudaTraits&) {
  const RowBlocks blocks = blocks_of(v);
  const int64_t columns = v.columns(0);
  const bool sums = wants_sums(v);
  const AddPartials add_partials = add_partials_of(v);
  return visit_cuda(v.input(0).dtype, [&](auto tag) -> CudaKernel {
    using T = typename decltype(tag)::type;
    const bool with_h = v.has_output(3);
    with_h ? prepare_rows<true, T>(columns) : prepare_rows<false, T>(columns);
    return [=](const CudaCall& call) {
      float* partials = sums ? static_cast<float*>(call.workspace) : nullptr;
      const Backward<T> f{blocks,
                          columns,
                          call.in<T>(0),
                          call.in<T>(1),
                          call.in<T>(2),
                          call.in<float>(3),
                          call.in<float>(4),
                          call.in<float>(5),
                          call.in<float>(6),
                          call.out<T>(0),
                          call.out<T>(3),
                          partials};
      with_h ? launch_rows<true>(f, call.stream) : launch_rows<false>(f, call.stream);
      add_partials(partials, call);
    };
  });
}

}  // namespace centavo
