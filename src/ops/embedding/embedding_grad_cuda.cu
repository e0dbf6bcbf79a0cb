// The tokens are sorted by id with their positions (a stable radix sort; ids out of range become V and come last). Each
// id's segment of the order is found at the borders of the sorted ids. Then
//   zero_unnamed   writes the rows without tokens, when the binding writes: a warp a row
//   sum_short      a warp for a segment of at most 64 tokens and 1 KiB of a row
//   sum_long       a block for a longer segment and 512 bytes of a row: 64 tokens' rows come to shared memory at a time
//                  while the 64 before are added, so that one frequent token is bound by memory and not by its length
// Every element is summed by one thread in token order: the CPU's bits. Reads dx once and writes dweight once (the
// named rows, when adding); sorting moves about 80 bytes a token.

#include <bit>
#include <cub/device/device_radix_sort.cuh>

#include "ops/cuda/pack.cuh"
#include "ops/cuda/vectors.cuh"
#include "ops/embedding/embedding.h"

namespace centavo {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;
constexpr int kShort = 64;      // tokens of the longest segment of sum_short, and of a stage of sum_long
constexpr int kPacks = 2;       // of a lane of sum_short
constexpr int kRowsAtOnce = 2;  // on their way, of a segment in sum_short
constexpr int kRowsOfWarp = kShort / kWarps;
constexpr int64_t kZeroBytes = 65536;  // of a block of zero_unnamed, about
constexpr int kMostZeroRows = 256;

struct Sizes {
  int64_t tokens, vocab, columns;
};

// The workspace. Sorting goes to and fro between the two arrays of keys and of positions.
struct Scratch {
  int2* segments;         // [V] begin and end in the order; both 0 for an id that no token names
  uint32_t* keys[2];      // [N]
  int32_t* positions[2];  // [N]
  void* sort;
};

// Radix sort's own scratch: for each tile of keys (of at least 1024) 256 counts, and some for each pass.
int64_t sort_bytes(int64_t tokens) { return tokens + (int64_t{128} << 10); }

int64_t padded(int64_t bytes) { return ceil_div(bytes, 256) * 256; }

Scratch scratch_of(const Sizes& s, void* workspace) {
  auto* at = static_cast<std::byte*>(workspace);
  const auto take = [&](int64_t bytes) {
    std::byte* begin = at;
    at += padded(bytes);
    return static_cast<void*>(begin);
  };
  Scratch scratch;
  scratch.segments = static_cast<int2*>(take(s.vocab * 8));
  for (uint32_t*& keys : scratch.keys) keys = static_cast<uint32_t*>(take(s.tokens * 4));
  for (int32_t*& positions : scratch.positions) positions = static_cast<int32_t*>(take(s.tokens * 4));
  scratch.sort = take(sort_bytes(s.tokens));
  return scratch;
}

__global__ void __launch_bounds__(kThreads)
    number_tokens(const int32_t* tokens, Sizes s, uint32_t* keys, int32_t* positions) {
  const int64_t n = grid_thread();
  if (n >= s.tokens) return;
  const int32_t token = tokens[n];
  keys[n] = static_cast<uint32_t>(token >= 0 && token < s.vocab ? token : s.vocab);
  positions[n] = static_cast<int32_t>(n);
}

__global__ void __launch_bounds__(kThreads) find_segments(const uint32_t* keys, Sizes s, int2* segments) {
  const int64_t p = grid_thread();
  if (p >= s.tokens) return;
  const uint32_t key = keys[p];
  if (key >= s.vocab) return;
  if (p == 0 || keys[p - 1] != key) segments[key].x = static_cast<int>(p);
  if (p + 1 == s.tokens || keys[p + 1] != key) segments[key].y = static_cast<int>(p + 1);
}

template <class Unit>
__global__ void __launch_bounds__(kThreads)
    zero_unnamed(const int2* segments, int64_t vocab, int64_t units, int rows, Unit* dweight) {
  __shared__ bool unnamed[kMostZeroRows];
  const int64_t first = int64_t{blockIdx.x} * rows;
  if (static_cast<int>(threadIdx.x) < rows) {
    const int64_t v = first + threadIdx.x;
    unnamed[threadIdx.x] = v < vocab && segments[v].x == segments[v].y;
  }
  __syncthreads();
  for (int r = threadIdx.x / 32; r < rows; r += kWarps) {
    if (!unnamed[r]) continue;
    for (int64_t u = threadIdx.x % 32; u < units; u += 32) dweight[(first + r) * units + u] = Unit{};
  }
}

// What both sums work on: the sorted tokens, and dx and dweight as rows of packs of N elements.
template <class T, class G>
struct Sum {
  const uint32_t* keys;
  const int32_t* positions;
  const int2* segments;
  const T* dx;
  G* dweight;
  Sizes sizes;
  bool adds;
};

template <int N, class T>
__device__ inline void accumulate(const Pack<T, N>& row, float* total) {
#pragma unroll
  for (int i = 0; i < N; ++i) total[i] += to_float(row.at[i]);
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

template <int N, class T, class G>
__device__ void sum_segment(const Sum<T, G>& in, int2 segment, const Piece<N, T>& piece, float (&total)[kPacks][N]) {
  for (int p = segment.x; p < segment.y; p += 32) {
    const int count = min(segment.y - p, 32);
    const int lane = threadIdx.x % 32;
    const int position = lane < count ? in.positions[p + lane] : 0;
    for (int r = 0; r < count; r += kRowsAtOnce) {
      Pack<T, N> rows[kRowsAtOnce][kPacks];
#pragma unroll
      for (int i = 0; i < kRowsAtOnce; ++i) {
        const int64_t n = __shfl_sync(0xffffffffu, position, (r + i) % 32);
        if (r + i < count) piece.load(in.dx + n * in.sizes.columns, rows[i]);
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
}

// A warp for each sorted position and piece; the ones at the beginning of a short segment have work.
template <int N, class T, class G>
__global__ void __launch_bounds__(kThreads, 3) sum_short(Sum<T, G> in, int64_t pieces) {
  const int64_t item = int64_t{blockIdx.x} * kWarps + threadIdx.x / 32;
  const int64_t p = item / pieces;
  if (p >= in.sizes.tokens) return;
  const uint32_t key = in.keys[p];
  if (key >= in.sizes.vocab) return;
  const int2 segment = in.segments[key];
  if (segment.x != p || segment.y - segment.x > kShort) return;
  const Piece<N, T> piece{item % pieces * (kPacks * 32 * N) + threadIdx.x % 32 * N, in.sizes.columns};
  float total[kPacks][N] = {};
  sum_segment(in, segment, piece, total);
#pragma unroll
  for (int k = 0; k < kPacks; ++k) {
    if (piece.has(k)) store_total<N>(total[k], in.adds, in.dweight + key * in.sizes.columns + piece.first + k * 32 * N);
  }
}

// The rows of kShort tokens from sorted position p on, one pack a lane; warp w has rows w, w + kWarps, ...
template <int N, class T>
struct Stage {
  Pack<T, N> packs[kRowsOfWarp];

  template <class G>
  __device__ void load(const Sum<T, G>& in, int p, int end, int64_t column) {
    int64_t rows[kRowsOfWarp];
#pragma unroll
    for (int i = 0; i < kRowsOfWarp; ++i) {
      const int at = p + static_cast<int>(threadIdx.x) / 32 + i * kWarps;
      rows[i] = at < end ? in.positions[at] : -1;
    }
#pragma unroll
    for (int i = 0; i < kRowsOfWarp; ++i) {
      if (rows[i] < 0 || column >= in.sizes.columns) continue;
      packs[i] = Pack<T, N>::load_streaming(in.dx + rows[i] * in.sizes.columns + column);
    }
  }

  __device__ void store(T (*shared)[32 * N]) const {
#pragma unroll
    for (int i = 0; i < kRowsOfWarp; ++i) {
      packs[i].store(shared[threadIdx.x / 32 + i * kWarps] + threadIdx.x % 32 * N);
    }
  }
};

// A block for each kShort sorted positions and tile of 32 N columns. A longer segment holds at least one position that
// is a multiple of kShort; the block of the first such has work.
template <int N, class T, class G>
__global__ void __launch_bounds__(kThreads) sum_long(Sum<T, G> in, int64_t tiles) {
  __shared__ alignas(16) T shared[kShort][32 * N];
  const int64_t p = int64_t{blockIdx.x} / tiles * kShort;
  const uint32_t key = in.keys[p];
  if (key >= in.sizes.vocab) return;
  const int2 segment = in.segments[key];
  if (segment.y - segment.x <= kShort || p - segment.x >= kShort) return;
  const int64_t first_column = int64_t{blockIdx.x} % tiles * (32 * N);
  const int64_t lane_column = first_column + threadIdx.x % 32 * N;
  const int64_t column = first_column + threadIdx.x;
  const bool sums = threadIdx.x < 32 * N && column < in.sizes.columns;
  float total = 0;
  Stage<N, T> stage;
  stage.load(in, segment.x, segment.y, lane_column);
  for (int from = segment.x; from < segment.y; from += kShort) {
    stage.store(shared);
    __syncthreads();
    stage.load(in, from + kShort, segment.y, lane_column);
    const int count = min(segment.y - from, kShort);
    if (sums) {
#pragma unroll 8
      for (int r = 0; r < count; ++r) total += to_float(shared[r][threadIdx.x]);
    }
    __syncthreads();
  }
  if (sums) store_total<1>(&total, in.adds, in.dweight + key * in.sizes.columns + column);
}

// What is known when the program is, and the steps of a call.
class EmbeddingGrad {
 public:
  EmbeddingGrad(const Sizes& sizes, Bind bind, DType gradient)
      : sizes_(sizes), bind_(bind), row_bytes_(sizes.columns * size_of(gradient)), gradient_(gradient) {}

  // The array of keys and positions that holds the sorted ones.
  int sort(const Scratch& scratch, const CudaCall& call) const {
    const unsigned blocks = blocks_for(sizes_.tokens, kThreads);
    number_tokens<<<blocks, kThreads, 0, call.stream>>>(call.in<int32_t>(0), sizes_, scratch.keys[0],
                                                        scratch.positions[0]);
    check_launch("embedding_grad numbers tokens");
    cub::DoubleBuffer<uint32_t> keys(scratch.keys[0], scratch.keys[1]);
    cub::DoubleBuffer<int32_t> positions(scratch.positions[0], scratch.positions[1]);
    auto bytes = static_cast<size_t>(sort_bytes(sizes_.tokens));
    cuda_check(cub::DeviceRadixSort::SortPairs(scratch.sort, bytes, keys, positions, static_cast<int>(sizes_.tokens), 0,
                                               key_bits(), call.stream),
               "embedding_grad sorts tokens");
    return keys.selector;
  }

  // The planned scratch must be enough for this GPU.
  void check_sort_bytes() const {
    cub::DoubleBuffer<uint32_t> keys;
    cub::DoubleBuffer<int32_t> positions;
    size_t needed = 0;
    cuda_check(cub::DeviceRadixSort::SortPairs(nullptr, needed, keys, positions, static_cast<int>(sizes_.tokens), 0,
                                               key_bits()),
               "embedding_grad sorts tokens");
    CHECK(static_cast<int64_t>(needed) <= sort_bytes(sizes_.tokens), "sorting {} tokens needs {} bytes, planned are {}",
          sizes_.tokens, needed, sort_bytes(sizes_.tokens));
  }

  void segment(const Scratch& scratch, const uint32_t* keys, const CudaCall& call) const {
    cuda_check(cudaMemsetAsync(scratch.segments, 0, static_cast<size_t>(sizes_.vocab) * sizeof(int2), call.stream),
               "embedding_grad");
    find_segments<<<blocks_for(sizes_.tokens, kThreads), kThreads, 0, call.stream>>>(keys, sizes_, scratch.segments);
    check_launch("embedding_grad finds segments");
  }

  void zero(const Scratch& scratch, const CudaCall& call) const {
    if (bind_ == Bind::add) return;
    if (row_bytes_ % 16 == 0 && aligned_for_vectors({call.out<void>(0)})) return zero_units<int4>(scratch, call);
    return gradient_ == DType::f32 ? zero_units<uint32_t>(scratch, call) : zero_units<uint16_t>(scratch, call);
  }

  template <int N, class T, class G>
  void sum(const Scratch& scratch, int sorted, const CudaCall& call) const {
    const Sum<T, G> in{
        scratch.keys[sorted], scratch.positions[sorted], scratch.segments, call.in<T>(1), call.out<G>(0), sizes_,
        bind_ == Bind::add};
    const int64_t tiles = ceil_div(sizes_.columns, 32 * N);
    sum_long<N><<<blocks_for(ceil_div(sizes_.tokens, kShort) * tiles, 1), kThreads, 0, call.stream>>>(in, tiles);
    check_launch("embedding_grad sums long segments");
    const int64_t pieces = ceil_div(sizes_.columns, kPacks * 32 * N);
    sum_short<N><<<blocks_for(sizes_.tokens * pieces, kWarps), kThreads, 0, call.stream>>>(in, pieces);
    check_launch("embedding_grad sums short segments");
  }

  template <class T, class G>
  CudaKernel kernel() const {
    return [self = *this](const CudaCall& call) {
      constexpr int N = Vec<T>::size;
      const Scratch scratch = scratch_of(self.sizes_, call.workspace);
      const int sorted = self.sort(scratch, call);
      self.segment(scratch, scratch.keys[sorted], call);
      self.zero(scratch, call);
      const bool packs = self.sizes_.columns % N == 0 && aligned_for_vectors({call.in<T>(1), call.out<G>(0)});
      return packs ? self.sum<N, T, G>(scratch, sorted, call) : self.sum<1, T, G>(scratch, sorted, call);
    };
  }

 private:
  // Of the keys, which go up to V.
  int key_bits() const { return std::bit_width(static_cast<uint64_t>(sizes_.vocab)); }

  template <class Unit>
  void zero_units(const Scratch& scratch, const CudaCall& call) const {
    const int rows = static_cast<int>(std::clamp<int64_t>(kZeroBytes / row_bytes_, 1, kMostZeroRows));
    const int64_t units = row_bytes_ / static_cast<int64_t>(sizeof(Unit));
    zero_unnamed<<<blocks_for(sizes_.vocab, rows), kThreads, 0, call.stream>>>(scratch.segments, sizes_.vocab, units,
                                                                               rows, call.out<Unit>(0));
    check_launch("embedding_grad zeroes rows");
  }

  Sizes sizes_;
  Bind bind_;
  int64_t row_bytes_;
  DType gradient_;
};

Sizes sizes_of(const OpView& v) { return {v.input(0).elements(), v.whole("vocab_size"), v.columns(1)}; }

}  // namespace

int64_t embedding_grad_cuda_workspace(const OpView& v, const CudaTraits&) {
  const Sizes s = sizes_of(v);
  return padded(s.vocab * 8) + 4 * padded(s.tokens * 4) + padded(sort_bytes(s.tokens));
}

CudaKernel embedding_grad_cuda(const OpView& v, const CudaTraits&) {
  const EmbeddingGrad grad(sizes_of(v), v.op().outputs[0].bind, v.output(0).dtype);
  grad.check_sort_bytes();
  return visit_cuda(v.input(1).dtype, [&](auto tag) -> CudaKernel {
    return visit_cuda(v.output(0).dtype, [&](auto gradient) -> CudaKernel {
      return grad.kernel<typename decltype(tag)::type, typename decltype(gradient)::type>();
    });
  });
}

}  // namespace centavo
