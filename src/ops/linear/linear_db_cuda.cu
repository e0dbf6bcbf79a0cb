// Reads dy once, in one kernel. A tile of columns belongs to a cluster of 8 blocks, each of which takes an eighth of
// the rows: a thread has 16 bytes of a row, and 8 rows are on their way at once. Sums meet in the warp, then in the
// block over its warps, then in the cluster over its blocks, always in the same order; partial sums never leave the
// chip. The fewer columns there are, the narrower are the tiles, so that blocks enough for a whole GPU remain.
//
// Rows that are no multiple of 16 bytes, or begin elsewhere, are read element by element and summed in the same order.
// On a GPU without clusters one block takes all rows of a tile: correct, yet few blocks. How rows and columns are cut
// depends on the shape alone.

#include "ops/cuda/cluster.cuh"
#include "ops/cuda/floats.cuh"
#include "ops/cuda/vectors.cuh"
#include "ops/linear/linear.h"

namespace centavo {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;
constexpr int kRowsAtOnce = 8;  // on their way, of a thread
constexpr int64_t kBlocksAtLeast = 192;

template <class T, class G>
struct ColumnSums {
  const T* dy;
  G* dbias;
  int rows, columns;
  int block_rows;
  int blocks;  // of a cluster
  bool adds;
};

template <bool kWhole, class T>
__device__ Vec<T> load_piece(const T* row, int column, int columns) {
  if constexpr (kWhole) {
    return Vec<T>::load_streaming(row + column);
  } else {
    Vec<T> piece = {};
#pragma unroll
    for (int e = 0; e < Vec<T>::size; ++e) {
      if (column + e < columns) piece.at[e] = row[column + e];
    }
    return piece;
  }
}

// Every kStep-th of `count` rows, from row `first` on. Behind the last one it is loaded again and not added: loads
// under no branch are all on their way before the first is waited for.
template <bool kWhole, int kStep, class T>
__device__ void sum_rows(const T* rows, int first, int count, int column, int columns, float (&sum)[Vec<T>::size]) {
  for (int from = first; from < count; from += kRowsAtOnce * kStep) {
    Vec<T> pieces[kRowsAtOnce];
#pragma unroll
    for (int i = 0; i < kRowsAtOnce; ++i) {
      const int row = min(from + i * kStep, count - 1);
      pieces[i] = load_piece<kWhole>(rows + int64_t{row} * columns, column, columns);
    }
#pragma unroll
    for (int i = 0; i < kRowsAtOnce; ++i) {
      float values[Vec<T>::size];
      unpack(pieces[i].at, values);
#pragma unroll
      for (int e = 0; e < Vec<T>::size; ++e) sum[e] += from + i * kStep < count ? values[e] : 0.0f;
    }
  }
}

// One column over the warps of the block.
template <int kColumns>
__device__ float over_warps(const float (&sums)[kWarps][kColumns], int column) {
  float total = 0;
#pragma unroll
  for (int w = 0; w < kWarps; ++w) total += sums[w][column];
  return total;
}

// One column over the blocks of a cluster.
__device__ float over_blocks(const float* block_sum) {
  float sums[kMostClusterBlocks];
#pragma unroll
  for (int b = 0; b < kMostClusterBlocks; ++b) sums[b] = of_block(block_sum, b);
  float total = 0;
#pragma unroll
  for (const float sum : sums) total += sum;
  return total;
}

// kLanes threads side by side have a row of the tile.
template <int kLanes, bool kWhole, class T, class G>
__global__ void __launch_bounds__(kThreads, 3) sum_columns(const ColumnSums<T, G> in) {
  constexpr int kWidth = Vec<T>::size;
  constexpr int kColumns = kLanes * kWidth;
  static_assert(kColumns <= kThreads);
  __shared__ float warp_sums[kWarps][kColumns];
  __shared__ float block_sums[kColumns];
  const int thread = static_cast<int>(threadIdx.x);
  const int block = static_cast<int>(blockIdx.x) % in.blocks;
  const int tile = static_cast<int>(blockIdx.x) / in.blocks * kColumns;
  const int column = tile + thread % kLanes * kWidth;
  G* const to = in.dbias + tile + thread;
  const bool owns = block == 0 && thread < kColumns && tile + thread < in.columns;
  const float before = owns && in.adds ? to_float(*to) : 0.0f;
  float sum[kWidth] = {};
  if (column < in.columns) {
    const int begin = min(block * in.block_rows, in.rows);
    const int count = min(in.block_rows, in.rows - begin);
    sum_rows<kWhole, kThreads / kLanes>(in.dy + int64_t{begin} * in.columns, thread / kLanes, count, column, in.columns,
                                        sum);
  }
#pragma unroll
  for (int apart = 16; apart >= kLanes; apart /= 2) {
#pragma unroll
    for (float& s : sum) s += __shfl_xor_sync(0xffffffffu, s, apart);
  }
  if (thread % 32 < kLanes) {
#pragma unroll
    for (int e = 0; e < kWidth; ++e) warp_sums[thread / 32][thread % kLanes * kWidth + e] = sum[e];
  }
  __syncthreads();
  if (thread < kColumns) block_sums[thread] = over_warps(warp_sums, thread);
  if (in.blocks > 1) {
    cluster_arrive();
    cluster_wait();
  }
  float total = 0;
  if (owns) total = in.blocks > 1 ? over_blocks(block_sums + thread) : block_sums[thread];
  if (in.blocks > 1) cluster_arrive();  // the first block has read the others
  if (owns) *to = from_float<G>(before + total);
  if (in.blocks > 1) cluster_wait();
}

// Lanes of a row of a tile: the most that leave blocks enough.
int lanes_of(int64_t columns, int64_t width) {
  int lanes = 32;
  while (lanes > 2 && ceil_div(columns, lanes * width) * kMostClusterBlocks < kBlocksAtLeast) lanes /= 2;
  return lanes;
}

template <class F>
void visit_lanes(int lanes, F&& f) {
  switch (lanes) {
    case 2: return f(std::integral_constant<int, 2>{});
    case 4: return f(std::integral_constant<int, 4>{});
    case 8: return f(std::integral_constant<int, 8>{});
    case 16: return f(std::integral_constant<int, 16>{});
    default: return f(std::integral_constant<int, 32>{});
  }
}

template <class T, class G>
void launch(const ColumnSums<T, G>& sums, CUstream_st* stream) {
  constexpr int kWidth = Vec<T>::size;
  const bool whole = sums.columns % kWidth == 0 && aligned_for_vectors({sums.dy});
  visit_lanes(lanes_of(sums.columns, kWidth), [&](auto lanes) {
    constexpr int kLanes = decltype(lanes)::value;
    const auto kernel = whole ? sum_columns<kLanes, true, T, G> : sum_columns<kLanes, false, T, G>;
    launch_clusters("linear_db", kernel, {blocks_for(sums.columns, kLanes * kWidth), sums.blocks, kThreads}, stream,
                    sums);
  });
}

}  // namespace

CudaKernel linear_db_cuda(const OpView& v, const CudaTraits&) {
  CHECK(std::max(v.rows(0), v.columns(0)) < INT32_MAX / 2, "linear_db of [{}, {}]", v.rows(0), v.columns(0));
  const int rows = static_cast<int>(v.rows(0));
  const int columns = static_cast<int>(v.columns(0));
  const bool adds = v.adds(0);
  const int blocks = has_clusters(sum_columns<32, true, float, float>) ? kMostClusterBlocks : 1;
  return visit_cuda(v.input(0).dtype, [&](auto tag) -> CudaKernel {
    using T = typename decltype(tag)::type;
    return visit_cuda(v.output(0).dtype, [&](auto gradient_tag) -> CudaKernel {
      using G = typename decltype(gradient_tag)::type;
      return [=](const CudaCall& call) {
        launch(
            ColumnSums<T, G>{call.in<T>(0), call.out<G>(0), rows, columns, (rows + blocks - 1) / blocks, blocks, adds},
            call.stream);
      };
    });
  });
}

}  // namespace centavo
