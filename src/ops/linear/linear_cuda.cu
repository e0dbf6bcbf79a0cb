// linear, linear_dx and linear_dw are one product each (product_cuda.h). linear_db reads dy once: a block of 8 warps
// takes a tile of 256 columns and one block of rows, each thread 16 bytes of every eighth row; a second kernel adds the
// partial sums of the row blocks in order, a thread for every column. How rows are cut depends on the shape alone.

#include <algorithm>

#include "ops/cuda/device.cuh"
#include "ops/linear/linear.h"
#include "ops/linear/product_cuda.h"
#include "ops/linear/products.h"

namespace centavo {
namespace {

enum In : size_t { kX, kWeight, kBias };

CudaKernel product_kernel(const OpView& v, const ProductSpec& spec, bool has_bias, const CudaTraits& traits) {
  const auto alignment = [&](BufferId id) { return alignment_of(v.program(), id); };
  const CudaProduct product(spec,
                            {.a_alignment = alignment(v.op().inputs[0]),
                             .b_alignment = alignment(v.op().inputs[1]),
                             .c_alignment = alignment(v.op().outputs[0].buffer),
                             .bias_alignment = has_bias ? alignment(v.op().inputs[kBias]) : 0},
                            traits);
  return [product, has_bias](const CudaCall& call) {
    product.run({.a = call.inputs[0],
                 .b = call.inputs[1],
                 .c = call.outputs[0],
                 .bias = has_bias ? call.inputs[kBias] : nullptr},
                call.workspace, call.stream);
  };
}

// --- linear_db

constexpr int kWarps = 8;
constexpr int kThreads = 32 * kWarps;
constexpr int64_t kTile = 256;  // columns
constexpr int64_t kRowsAtLeast = 32;
constexpr int64_t kMostRowBlocks = 256;
constexpr int64_t kBlocks = 1056;  // a few for each multiprocessor of the larger GPUs; a constant, so sums never change

struct RowCut {
  int64_t rows = 0;    // of a row block, a multiple of kWarps
  int64_t blocks = 0;  // of rows
};

RowCut cut_rows(int64_t rows, int64_t columns) {
  const int64_t blocks = std::clamp<int64_t>(kBlocks / ceil_div(columns, kTile), 1, kMostRowBlocks);
  const int64_t each = ceil_div(std::max(ceil_div(rows, blocks), kRowsAtLeast), kWarps) * kWarps;
  return {each, ceil_div(rows, each)};
}

// kWidth elements of T of one row at a time: 16 bytes, or 1 element where rows are not aligned. The order in which a
// column is summed is the same.
template <class T, int kWidth>
struct Piece {
  float at[kWidth];

  __device__ static Piece load(const T* from) {
    Piece piece;
    if constexpr (kWidth == 1) {
      piece.at[0] = to_float(*from);
    } else {
      const Vec<T> v = Vec<T>::load_streaming(from);
#pragma unroll
      for (int i = 0; i < kWidth; ++i) piece.at[i] = to_float(v.at[i]);
    }
    return piece;
  }
};

// partial[row block][column]
template <class T, int kWidth>
__global__ void __launch_bounds__(kThreads)
    sum_row_blocks(const T* dy, int64_t rows, int64_t columns, int64_t rows_of_block, float* partial) {
  constexpr int kColumns = 32 * kWidth;
  __shared__ float sums[kWarps][kColumns];
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int64_t column = static_cast<int64_t>(blockIdx.x) * kColumns + lane * kWidth;
  const int64_t begin = static_cast<int64_t>(blockIdx.y) * rows_of_block;
  const int64_t end = min(begin + rows_of_block, rows);
  float sum[kWidth] = {};
  if (column < columns) {
#pragma unroll 4
    for (int64_t row = begin + warp; row < end; row += kWarps) {
      const auto piece = Piece<T, kWidth>::load(dy + row * columns + column);
#pragma unroll
      for (int i = 0; i < kWidth; ++i) sum[i] += piece.at[i];
    }
  }
#pragma unroll
  for (int i = 0; i < kWidth; ++i) sums[warp][lane * kWidth + i] = sum[i];
  __syncthreads();
  for (int c = static_cast<int>(threadIdx.x); c < kColumns; c += kThreads) {
    const int64_t at = static_cast<int64_t>(blockIdx.x) * kColumns + c;
    if (at >= columns) break;
    float total = 0;
#pragma unroll
    for (int w = 0; w < kWarps; ++w) total += sums[w][c];
    partial[static_cast<int64_t>(blockIdx.y) * columns + at] = total;
  }
}

template <class G>
__global__ void __launch_bounds__(kThreads)
    add_partials(const float* partial, int64_t blocks, int64_t columns, bool adds, G* dbias) {
  const int64_t column = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (column >= columns) return;
  float total = 0;
#pragma unroll 8
  for (int64_t b = 0; b < blocks; ++b) total += partial[b * columns + column];
  dbias[column] = from_float<G>((adds ? to_float(dbias[column]) : 0.0f) + total);
}

template <class T, int kWidth>
void enqueue_sums(const RowCut& cut, int64_t rows, int64_t columns, const CudaCall& call) {
  const dim3 grid(static_cast<unsigned>(ceil_div(columns, 32 * kWidth)), static_cast<unsigned>(cut.blocks));
  sum_row_blocks<T, kWidth>
      <<<grid, kThreads, 0, call.stream>>>(call.in<T>(0), rows, columns, cut.rows, static_cast<float*>(call.workspace));
  check_launch("linear_db");
}

template <class T, class G>
void column_sums(const RowCut& cut, int64_t rows, int64_t columns, bool adds, const CudaCall& call) {
  constexpr int kWidth = Vec<T>::size;
  const bool whole = columns % kWidth == 0 && reinterpret_cast<uintptr_t>(call.inputs[0]) % 16 == 0;
  if (whole) {
    enqueue_sums<T, kWidth>(cut, rows, columns, call);
  } else {
    enqueue_sums<T, 1>(cut, rows, columns, call);
  }
  add_partials<<<static_cast<unsigned>(ceil_div(columns, kThreads)), kThreads, 0, call.stream>>>(
      static_cast<const float*>(call.workspace), cut.blocks, columns, adds, call.out<G>(0));
  check_launch("linear_db");
}

}  // namespace

int64_t linear_cuda_workspace(const OpView& v, const CudaTraits& traits) {
  return CudaProduct::workspace_bytes(linear_product(v), traits);
}

int64_t linear_dx_cuda_workspace(const OpView& v, const CudaTraits& traits) {
  return CudaProduct::workspace_bytes(linear_dx_product(v), traits);
}

int64_t linear_dw_cuda_workspace(const OpView& v, const CudaTraits& traits) {
  return CudaProduct::workspace_bytes(linear_dw_product(v), traits);
}

int64_t linear_db_cuda_workspace(const OpView& v, const CudaTraits&) {
  return cut_rows(v.rows(0), v.columns(0)).blocks * v.columns(0) * size_of(DType::f32);
}

CudaKernel linear_cuda(const OpView& v, const CudaTraits& traits) {
  return product_kernel(v, linear_product(v), v.has_input(kBias), traits);
}

CudaKernel linear_dx_cuda(const OpView& v, const CudaTraits& traits) {
  return product_kernel(v, linear_dx_product(v), false, traits);
}

CudaKernel linear_dw_cuda(const OpView& v, const CudaTraits& traits) {
  return product_kernel(v, linear_dw_product(v), false, traits);
}

CudaKernel linear_db_cuda(const OpView& v, const CudaTraits&) {
  const int64_t rows = v.rows(0);
  const int64_t columns = v.columns(0);
  const RowCut cut = cut_rows(rows, columns);
  const bool adds = v.adds(0);
  return visit_cuda(v.input(0).dtype, [&](auto tag) -> CudaKernel {
    using T = typename decltype(tag)::type;
    return visit_cuda(v.output(0).dtype, [&](auto gradient_tag) -> CudaKernel {
      using G = typename decltype(gradient_tag)::type;
      return [=](const CudaCall& call) { column_sums<T, G>(cut, rows, columns, adds, call); };
    });
  });
}

}  // namespace centavo
