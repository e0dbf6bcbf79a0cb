// Tokens are gathered by id into segments (token_segments.cuh). One kernel then has
//   blocks of long segments, each with 512 bytes of a row: 64 tokens' rows come to shared memory at a time while the 64
//   before are added, so that one frequent token's sum is bound by memory and not by its length
//   blocks of 32 ids of a part, a warp for an id's segment and 1 KiB of a row. Rows without tokens become 0 when the
//   binding writes; the row that it adds to is on its way with those of dx.
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
constexpr int64_t kLongBlocks = 256;  // about; what more there is they take in turn

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

  __device__ int64_t column(int k) const { return first + k * 32 * N; }
  __device__ bool has(int k) const { return column(k) < columns; }
  __device__ void load(const T* row, Pack<T, N> (&packs)[kPacks]) const {
#pragma unroll
    for (int k = 0; k < kPacks; ++k) {
      if (has(k)) packs[k] = Pack<T, N>::load_streaming(row + column(k));
    }
  }
  // To L2: registers for it would cost a block its place.
  template <class G>
  __device__ void prefetch(const G* row) const {
#pragma unroll
    for (int k = 0; k < kPacks; ++k) {
      if (has(k)) asm volatile("prefetch.global.L2 [%0];" ::"l"(__cvta_generic_to_global(row + column(k))));
    }
  }
};

// Lane i knows the position of token i of the segment.
template <int N, class T, class G>
__device__ void sum_rows(const Sum<T, G>& in, const int* order, int count, const Piece<N, T>& piece,
                         float (&total)[kPacks][N]) {
  static_assert(kShort == 32);
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int position = lane < count ? order[lane] : 0;
  for (int r = 0; r < count; r += kRowsAtOnce) {
    Pack<T, N> rows[kRowsAtOnce][kPacks];
#pragma unroll
    for (int i = 0; i < kRowsAtOnce; ++i) {
      const int64_t row = __shfl_sync(0xffffffffu, position, r + i);
      if (r + i < count) piece.load(in.dx + row * in.columns, rows[i]);
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

// A warp's: a piece of the row of an id with few tokens.
template <int N, class T, class G>
__device__ void sum_segment(const Sum<T, G>& in, const int* order, int count, const Piece<N, T>& piece, G* row) {
  if (in.adds) piece.prefetch(row);
  float total[kPacks][N] = {};
  sum_rows(in, order, count, piece, total);
#pragma unroll
  for (int k = 0; k < kPacks; ++k) {
    if (piece.has(k)) store_total<N>(total[k], in.adds, row + piece.column(k));
  }
}

// The columns [begin, begin + kPacks * 32 N) of one row.
template <int N, class G>
__device__ void zero_piece(G* row, int64_t begin, int64_t columns) {
  constexpr int kWidth = N < 16 / static_cast<int>(sizeof(G)) ? N : 16 / static_cast<int>(sizeof(G));
  const int64_t end = min(begin + kPacks * 32 * N, columns);
  for (int64_t c = begin + threadIdx.x % 32 * kWidth; c < end; c += 32 * kWidth) Pack<G, kWidth>{}.store(row + c);
}

// Ids of a part that lie behind each other, without those of long segments.
struct Ids {
  struct Named {
    int id, begin, count;
  };
  Named named[kIds];
  int unnamed[kIds];
  int named_count, unnamed_count;

  // One warp.
  __device__ void find(const TokenSegments& segments, int part, int first) {
    static_assert(kIds == 32);
    const int lane = static_cast<int>(threadIdx.x) % 32;
    const int64_t id = (int64_t{first + lane} << segments.part_bits) + part;
    const bool is_id = first + lane < segments.ids_of_part && id < segments.vocab;
    const int* begins = segments.begins + int64_t{part} * segments.ids_of_part + first;
    const int begin = is_id ? begins[lane] : 0;
    const int count = is_id ? begins[lane + 1] - begin : kShort + 1;
    const unsigned with = __ballot_sync(0xffffffffu, count > 0 && count <= kShort);
    const unsigned without = __ballot_sync(0xffffffffu, count == 0);
    if (count == 0) {
      unnamed[rank_in(without)] = static_cast<int>(id);
    } else if (count <= kShort) {
      named[rank_in(with)] = {static_cast<int>(id), begin, count};
    }
    if (lane != 0) return;
    named_count = __popc(with);
    unnamed_count = __popc(without);
  }
};

template <int N, class T, class G>
__device__ void sum_short(const Sum<T, G>& in, int block) {
  __shared__ Ids ids;
  const int warp = static_cast<int>(threadIdx.x) / 32;
  if (warp == 0) ids.find(in.segments, block % (1 << in.segments.part_bits), (block >> in.segments.part_bits) * kIds);
  __syncthreads();
  const int named_items = ids.named_count * in.pieces;
  const int items = in.adds ? named_items : named_items + ids.unnamed_count * in.pieces;
  for (int item = warp; item < items; item += kWarps) {
    const int i = item / in.pieces;
    const int64_t begin = int64_t{item % in.pieces} * (kPacks * 32 * N);
    if (item >= named_items) {
      zero_piece<N>(in.dweight + ids.unnamed[i - ids.named_count] * in.columns, begin, in.columns);
      continue;
    }
    const Ids::Named of = ids.named[i];
    const Piece<N, T> piece{begin + threadIdx.x % 32 * N, in.columns};
    sum_segment(in, in.segments.order + of.begin, of.count, piece, in.dweight + of.id * in.columns);
  }
}

// The rows of kStage tokens from place p on, one pack a lane; warp w has rows w, w + kWarps, ...
template <int N, class T>
struct Stage {
  Pack<T, N> packs[kRowsOfWarp];

  template <class G>
  __device__ void load(const Sum<T, G>& in, int p, int end, int64_t column) {
    int rows[kRowsOfWarp];
#pragma unroll
    for (int i = 0; i < kRowsOfWarp; ++i) {
      const int at = p + static_cast<int>(threadIdx.x) / 32 + i * kWarps;
      rows[i] = at < end ? in.segments.order[at] : -1;
    }
#pragma unroll
    for (int i = 0; i < kRowsOfWarp; ++i) {
      if (rows[i] < 0 || column >= in.columns) continue;
      packs[i] = Pack<T, N>::load_streaming(in.dx + int64_t{rows[i]} * in.columns + column);
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
__device__ void sum_long(const Sum<T, G>& in, int slot, int64_t first_column) {
  __shared__ alignas(16) T shared[kStage][32 * N];
  const int part = slot / in.segments.ids_of_part;
  const int64_t id = (int64_t{slot % in.segments.ids_of_part} << in.segments.part_bits) + part;
  const int begin = in.segments.begins[slot];
  const int end = in.segments.begins[slot + 1];
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

// The block's part of the places of long segments, of which each warp looks at 32 together.
template <int N, class T, class G>
__device__ void sum_long_places(const Sum<T, G>& in, int block) {
  const int stride = in.long_blocks / in.tiles;
  for (int from = block / in.tiles; from < in.segments.long_places; from += 32 * stride) {
    const int place = from + static_cast<int>(threadIdx.x) % 32 * stride;
    const int slot = place < in.segments.long_places ? in.segments.long_slots[place] : -1;
    for (unsigned found = __ballot_sync(0xffffffffu, slot >= 0); found != 0; found &= found - 1) {
      const int next = __shfl_sync(0xffffffffu, slot, __ffs(static_cast<int>(found)) - 1);
      sum_long<N>(in, next, int64_t{block % in.tiles} * (32 * N));
    }
  }
}

template <int N, class T, class G>
__global__ void __launch_bounds__(kThreads, 4) sum_segments(Sum<T, G> in) {
  const int block = static_cast<int>(blockIdx.x);
  if (block < in.long_blocks) {
    sum_long_places<N>(in, block);
  } else {
    sum_short<N>(in, block - in.long_blocks);
  }
}

template <int N, class T, class G>
void sum(Sum<T, G> in, CUstream_st* stream) {
  in.tiles = static_cast<int>(ceil_div(in.columns, 32 * N));
  in.pieces = static_cast<int>(ceil_div(in.tiles, kPacks));
  in.long_blocks = static_cast<int>(std::min(in.segments.most_long(), ceil_div(kLongBlocks, in.tiles))) * in.tiles;
  const int64_t short_blocks = in.segments.parts() * ceil_div(in.segments.ids_of_part, kIds);
  sum_segments<N><<<blocks_for(in.long_blocks + short_blocks, 1), kThreads, 0, stream>>>(in);
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
