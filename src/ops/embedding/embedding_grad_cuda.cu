// Tokens are gathered by id into segments (token_segments.cuh). One kernel then has
//   blocks of long segments, each with 512 bytes of a row: 64 tokens' rows come to shared memory at a time while the 64
//   before are added, so that one frequent token is bound by memory and not by its length
//   blocks of 32 ids, a warp for an id's segment, which it sorts, and 1 KiB of a row; rows without tokens become 0 when
//   the binding writes. The ids lie far apart, as neighbours are often frequent together.
// Every element is summed by one thread in token order: the CPU's bits. Reads dx once and writes dweight once (the
// named rows, when adding).

#include <algorithm>

#include "ops/cuda/floats.cuh"
#include "ops/cuda/pack.cuh"
#include "ops/cuda/vectors.cuh"
#include "ops/embedding/embedding.h"
#include "ops/embedding/token_segments.cuh"

namespace centavo {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;
constexpr int kShort = kShortSegment;  // which a warp sums
constexpr int kIds = 32;               // of a block of such segments
constexpr int kPacks = 2;              // of a lane there
constexpr int kRowsAtOnce = 2;         // on their way, of a segment there
constexpr int kStage = 64;             // tokens of a longer segment whose rows come together
constexpr int kRowsOfWarp = kStage / kWarps;
constexpr int64_t kLongAtOnce = 256;  // segments; more are taken in turn

// What the sums work on: the segments, and dx and dweight as rows of packs of N elements. The first `long_blocks`
// blocks have long segments and tiles of 32 N columns, the others ids and pieces of kPacks tiles.
template <class T, class G>
struct Sum {
  TokenSegments segments;
  const T* dx;
  G* dweight;
  int64_t columns;
  bool adds;
  int tiles = 0, pieces = 0;
  int long_blocks = 0;
};

template <int N, class T>
__device__ inline void accumulate(const Pack<T, N>& row, float* total) {
  float values[N];
  unpack(row.at, values);
#pragma unroll
  for (int i = 0; i < N; ++i) total[i] += values[i];
}

template <int N, class G>
__device__ inline void store_total(const float* total, bool adds, G* dweight) {
  Pack<G, N> pack;
  if (adds) pack = Pack<G, N>::load(dweight);
#pragma unroll
  for (int i = 0; i < N; ++i) pack.at[i] = from_float<G>((adds ? to_float(pack.at[i]) : 0.0f) + total[i]);
  pack.store(dweight);
}

// The packs of one lane: kPacks of them, 32 packs apart, from column `first` on.
template <int N, class T>
struct Piece {
  int64_t first, columns;

  __device__ bool has(int k) const { return first + k * 32 * N < columns; }
  __device__ void load(const T* row, Pack<T, N> (&packs)[kPacks]) const {
#pragma unroll
    for (int k = 0; k < kPacks; ++k) {
      if (has(k)) packs[k] = Pack<T, N>::load_streaming(row + first + k * 32 * N);
    }
  }
};

// The positions of a segment of at most kShort tokens in order, in `sorted`. All lanes of a warp call this.
__device__ void sort_short(const int* positions, int count, int (&sorted)[kShort]) {
  static_assert(kShort == 32);
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int own = lane < count ? positions[lane] : INT32_MAX;
  int rank = 0;
  for (int i = 0; i < count; ++i) rank += __shfl_sync(0xffffffffu, own, i) < own;
  __syncwarp();  // what was there has been read
  if (lane < count) sorted[rank] = own;
  __syncwarp();
}

template <int N, class T, class G>
__device__ void sum_segment(const Sum<T, G>& in, const int (&sorted)[kShort], int count, const Piece<N, T>& piece,
                            float (&total)[kPacks][N]) {
  for (int r = 0; r < count; r += kRowsAtOnce) {
    Pack<T, N> rows[kRowsAtOnce][kPacks];
#pragma unroll
    for (int i = 0; i < kRowsAtOnce; ++i) {
      if (r + i < count) piece.load(in.dx + sorted[r + i] * in.columns, rows[i]);
    }
#pragma unroll
    for (int i = 0; i < kRowsAtOnce; ++i) {
      if (r + i >= count) continue;
#pragma unroll
      for (int k = 0; k < kPacks; ++k) {
        if (piece.has(k)) accumulate<N>(rows[i][k], total[k]);
      }
    }
  }
}

// The columns [begin, begin + kPacks * 32 N) of one row.
template <int N, class G>
__device__ void zero_piece(G* row, int64_t begin, int64_t columns) {
  constexpr int kWidth = N < 16 / static_cast<int>(sizeof(G)) ? N : 16 / static_cast<int>(sizeof(G));
  const int64_t end = min(begin + kPacks * 32 * N, columns);
  for (int64_t c = begin + threadIdx.x % 32 * kWidth; c < end; c += 32 * kWidth) Pack<G, kWidth>{}.store(row + c);
}

template <int N, class T, class G>
__device__ void sum_short(const Sum<T, G>& in) {
  __shared__ int begins[kIds], counts[kIds];
  __shared__ int sorted[kWarps][kShort];
  const int64_t block = int64_t{blockIdx.x} - in.long_blocks;
  const int64_t blocks = int64_t{gridDim.x} - in.long_blocks;
  const auto id_of = [=](int i) { return i * blocks + block; };
  if (threadIdx.x < kIds) {
    const int64_t id = id_of(threadIdx.x);
    const int count = id < in.segments.vocab ? in.segments.counts[id] : kShort + 1;
    counts[threadIdx.x] = count;
    begins[threadIdx.x] = count > 0 && count <= kShort ? in.segments.begins[id] : 0;
  }
  __syncthreads();
  const int warp = static_cast<int>(threadIdx.x) / 32;
  for (int item = warp; item < kIds * in.pieces; item += kWarps) {
    const int i = item / in.pieces;
    const int count = counts[i];
    if (count > kShort || (count == 0 && in.adds)) continue;
    const int64_t begin = int64_t{item % in.pieces} * (kPacks * 32 * N);
    G* row = in.dweight + id_of(i) * in.columns;
    if (count == 0) {
      zero_piece<N>(row, begin, in.columns);
      continue;
    }
    const Piece<N, T> piece{begin + threadIdx.x % 32 * N, in.columns};
    float total[kPacks][N] = {};
    sort_short(in.segments.order + begins[i], count, sorted[warp]);
    sum_segment(in, sorted[warp], count, piece, total);
#pragma unroll
    for (int k = 0; k < kPacks; ++k) {
      if (piece.has(k)) store_total<N>(total[k], in.adds, row + piece.first + k * 32 * N);
    }
  }
}

// The rows of kStage tokens from sorted position p on, one pack a lane; warp w has rows w, w + kWarps, ...
template <int N, class T>
struct Stage {
  Pack<T, N> packs[kRowsOfWarp];

  template <class G>
  __device__ void load(const Sum<T, G>& in, int p, int end, int64_t column) {
    int64_t rows[kRowsOfWarp];
#pragma unroll
    for (int i = 0; i < kRowsOfWarp; ++i) {
      const int at = p + static_cast<int>(threadIdx.x) / 32 + i * kWarps;
      rows[i] = at < end ? in.segments.sorted[at] : -1;
    }
#pragma unroll
    for (int i = 0; i < kRowsOfWarp; ++i) {
      if (rows[i] < 0 || column >= in.columns) continue;
      packs[i] = Pack<T, N>::load_streaming(in.dx + rows[i] * in.columns + column);
    }
  }

  __device__ void store(T (*shared)[32 * N]) const {
#pragma unroll
    for (int i = 0; i < kRowsOfWarp; ++i) {
      packs[i].store(shared[threadIdx.x / 32 + i * kWarps] + threadIdx.x % 32 * N);
    }
  }
};

// One long segment's sum of the block's tile of columns.
template <int N, class T, class G>
__device__ void sum_long(const Sum<T, G>& in, int id, int64_t first_column) {
  __shared__ alignas(16) T shared[kStage][32 * N];
  const int begin = in.segments.begins[id];
  const int end = begin + in.segments.counts[id];
  const int64_t lane_column = first_column + threadIdx.x % 32 * N;
  const int64_t column = first_column + threadIdx.x;
  const bool sums = threadIdx.x < 32 * N && column < in.columns;
  float total = 0;
  Stage<N, T> stage;
  stage.load(in, begin, end, lane_column);
  for (int from = begin; from < end; from += kStage) {
    stage.store(shared);
    __syncthreads();
    stage.load(in, from + kStage, end, lane_column);
    const int count = min(end - from, kStage);
    if (sums) {
#pragma unroll 8
      for (int r = 0; r < count; ++r) total += to_float(shared[r][threadIdx.x]);
    }
    __syncthreads();
  }
  if (sums) store_total<1>(&total, in.adds, in.dweight + id * in.columns + column);
}

template <int N, class T, class G>
__global__ void __launch_bounds__(kThreads, 4) sum_segments(Sum<T, G> in) {
  const int block = static_cast<int>(blockIdx.x);
  if (block >= in.long_blocks) return sum_short<N>(in);
  const int count = *in.segments.long_count;
  for (int i = block / in.tiles; i < count; i += in.long_blocks / in.tiles) {
    sum_long<N>(in, in.segments.long_ids[i], int64_t{block % in.tiles} * (32 * N));
  }
}

template <int N, class T, class G>
void sum(Sum<T, G> in, CUstream_st* stream) {
  in.tiles = static_cast<int>(ceil_div(in.columns, 32 * N));
  in.pieces = static_cast<int>(ceil_div(in.tiles, kPacks));
  in.long_blocks =
      static_cast<int>(std::min(TokenSegments::most_long(in.segments.token_count), kLongAtOnce)) * in.tiles;
  const unsigned blocks = static_cast<unsigned>(in.long_blocks) + blocks_for(in.segments.vocab, kIds);
  sum_segments<N><<<blocks, kThreads, 0, stream>>>(in);
  check_launch("embedding_grad sums segments");
}

template <class T, class G>
CudaKernel kernel_of(int64_t token_count, int64_t vocab, int64_t columns, bool adds) {
  return [=](const CudaCall& call) {
    constexpr int N = Vec<T>::size;
    const TokenSegments segments(token_count, vocab, call.workspace);
    segments.gather(call.in<int32_t>(0), call.stream);
    const Sum<T, G> in{segments, call.in<T>(1), call.out<G>(0), columns, adds};
    const bool packs = columns % N == 0 && aligned_for_vectors({in.dx, in.dweight});
    packs ? sum<N>(in, call.stream) : sum<1>(in, call.stream);
  };
}

}  // namespace

int64_t embedding_grad_cuda_workspace(const OpView& v, const CudaTraits&) {
  return TokenSegments::workspace_bytes(v.input(0).elements(), v.whole("vocab_size"));
}

CudaKernel embedding_grad_cuda(const OpView& v, const CudaTraits&) {
  return visit_cuda(v.input(1).dtype, [&](auto tag) -> CudaKernel {
    return visit_cuda(v.output(0).dtype, [&](auto gradient) -> CudaKernel {
      return kernel_of<typename decltype(tag)::type, typename decltype(gradient)::type>(
          v.input(0).elements(), v.whole("vocab_size"), v.columns(1), v.adds(0));
    });
  });
}

}  // namespace centavo
