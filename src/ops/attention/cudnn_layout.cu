// Small kernels around cuDNN's. One block writes the table of documents, the others copy the boundaries of the rest.
// lse has H numbers a token, under 1 % of what attention moves; tiles of 32 x 32 turn it through shared memory, one
// block for 32 tokens of a document, so that both sides are read and written in whole lines.

#include "ops/attention/cudnn_layout.h"
#include "ops/cuda/device.cuh"

namespace centavo {
namespace {

constexpr int kThreads = 256;
constexpr int kTile = 32;
constexpr int kTileRows = 8;  // threads of a tile: kTile x kTileRows

// The largest of the block's values up to this thread's, in every thread; `shared` holds kThreads numbers.
__device__ int32_t largest_so_far(int32_t value, int32_t* shared) {
  shared[threadIdx.x] = value;
  __syncthreads();
  for (int apart = 1; apart < kThreads; apart *= 2) {
    const int32_t before = static_cast<int>(threadIdx.x) >= apart ? shared[threadIdx.x - apart] : 0;
    __syncthreads();
    value = max(value, before);
    shared[threadIdx.x] = value;
    __syncthreads();
  }
  return value;
}

// Boundary d is the largest of the first d + 1, each brought into [0, tokens].
__device__ void write_begins(const PackedSizes& sizes, const int32_t* cu_seqlens, int32_t* begin) {
  __shared__ int32_t shared[kThreads];
  int32_t before = 0;
  for (int64_t first = 0; first <= sizes.handed; first += kThreads) {
    const int64_t d = first + threadIdx.x;
    const int64_t given = d <= sizes.handed ? cu_seqlens[d] : 0;
    const auto value = static_cast<int32_t>(min(max(given, int64_t{0}), sizes.tokens));
    const int32_t boundary = max(before, largest_so_far(value, shared));
    if (d <= sizes.handed) begin[d] = boundary;
    before = max(before, shared[kThreads - 1]);
    __syncthreads();
  }
}

__device__ void write_table(const PackedSizes& sizes, const DocumentTable& table) {
  const int64_t y_row = sizes.heads * sizes.head_size;
  const int64_t kv_row = sizes.kv_heads * sizes.head_size;
  for (int64_t d = threadIdx.x; d <= sizes.handed; d += kThreads) {
    const int64_t begin = table.begin[d];
    table.qkv_offset[d] = begin * (y_row + 2 * kv_row);
    table.y_offset[d] = begin * y_row;
    table.kv_offset[d] = begin * kv_row;
    table.stats_offset[d] = begin * sizes.heads;
    if (d < sizes.handed) {
      table.length[d] = static_cast<int32_t>(min(table.begin[d + 1] - begin, sizes.max_seqlen));
    }
  }
}

__global__ void document_table(PackedSizes sizes, const int32_t* cu_seqlens, DocumentTable table) {
  if (blockIdx.x == 0) {
    write_begins(sizes, cu_seqlens, table.begin);
    write_table(sizes, table);
    if (threadIdx.x == 0) table.rest[0] = table.begin[sizes.handed];
    return;
  }
  // Raw: whoever reads them clamps each to the one before it, and the first is safe.
  const int64_t step = static_cast<int64_t>(gridDim.x - 1) * kThreads;
  for (int64_t i = 1 + static_cast<int64_t>(blockIdx.x - 1) * kThreads + threadIdx.x; i <= sizes.documents; i += step) {
    table.rest[i] = cu_seqlens[min(sizes.handed + i, sizes.documents)];
  }
}

// A block's share of a document: `count` tokens from `token` on; none past the document's end.
struct Tokens {
  int64_t token;
  int64_t count;
};

__device__ Tokens tokens_of_block(const PackedSizes& sizes, const DocumentTable& table) {
  const int64_t tiles = (sizes.max_seqlen + kTile - 1) / kTile;
  const int64_t document = blockIdx.x / tiles;
  const int64_t first = blockIdx.x % tiles * kTile;
  return {table.begin[document] + first, min(table.length[document] - first, int64_t{kTile})};
}

enum class Turn : uint8_t { to_lse, to_stats };

template <Turn kTurn>
__global__ void turn_lse(PackedSizes sizes, DocumentTable table, const float* from, float* to) {
  __shared__ float tile[kTile][kTile + 1];  // [token][head]
  const Tokens at = tokens_of_block(sizes, table);
  if (at.count <= 0) return;
  const int64_t x = threadIdx.x;
  for (int64_t head = 0; head < sizes.heads; head += kTile) {
    const int64_t heads = min(sizes.heads - head, int64_t{kTile});
    for (int64_t y = threadIdx.y; y < kTile; y += kTileRows) {
      if constexpr (kTurn == Turn::to_lse) {
        if (y < at.count && x < heads) tile[y][x] = from[(at.token + y) * sizes.heads + head + x];
      } else {
        if (y < heads && x < at.count) tile[x][y] = from[(head + y) * sizes.tokens + at.token + x];
      }
    }
    __syncthreads();
    for (int64_t y = threadIdx.y; y < kTile; y += kTileRows) {
      if constexpr (kTurn == Turn::to_lse) {
        if (y < heads && x < at.count) to[(head + y) * sizes.tokens + at.token + x] = tile[x][y];
      } else {
        if (y < at.count && x < heads) to[(at.token + y) * sizes.heads + head + x] = tile[y][x];
      }
    }
    __syncthreads();
  }
}

// A token's dk and dv lie side by side in dqkv; 16 bytes a thread.
__global__ void key_gradients(PackedSizes sizes, DocumentTable table, const int4* dk, const int4* dv, int4* dqkv) {
  const Tokens at = tokens_of_block(sizes, table);
  const int64_t kv_row = sizes.kv_heads * sizes.head_size / 8;
  const int64_t y_row = sizes.heads * sizes.head_size / 8;
  for (int64_t i = threadIdx.x; i < at.count * 2 * kv_row; i += kThreads) {
    const int64_t token = at.token + i / (2 * kv_row);
    const int64_t column = i % (2 * kv_row);
    const int4 value = column < kv_row ? dk[token * kv_row + column] : dv[token * kv_row + column - kv_row];
    dqkv[token * (y_row + 2 * kv_row) + y_row + column] = value;
  }
}

__global__ void split_sequences(const float* lse, float* stats, int64_t batch, int64_t heads, int64_t seq) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= batch * heads * seq) return;
  const int64_t row = i / seq;  // sequence and head
  stats[i] = lse[(row % heads * batch + row / heads) * seq + i % seq];
}

unsigned blocks_of(const PackedSizes& sizes) {
  return static_cast<unsigned>(sizes.handed * ceil_div(sizes.max_seqlen, kTile));
}

}  // namespace

void write_document_table(const PackedSizes& sizes, const int32_t* cu_seqlens, const DocumentTable& table,
                          CUstream_st* stream) {
  const int64_t copying = std::min<int64_t>(ceil_div(sizes.documents, kThreads), 64);
  document_table<<<static_cast<unsigned>(1 + copying), kThreads, 0, stream>>>(sizes, cu_seqlens, table);
  check_launch("attention's table of documents");
}

void lse_from_stats(const PackedSizes& sizes, const DocumentTable& table, const float* stats, float* lse,
                    CUstream_st* stream) {
  turn_lse<Turn::to_lse><<<blocks_of(sizes), dim3(kTile, kTileRows), 0, stream>>>(sizes, table, stats, lse);
  check_launch("lse of packed documents");
}

void stats_from_lse(const PackedSizes& sizes, const DocumentTable& table, const float* lse, float* stats,
                    CUstream_st* stream) {
  turn_lse<Turn::to_stats><<<blocks_of(sizes), dim3(kTile, kTileRows), 0, stream>>>(sizes, table, lse, stats);
  check_launch("lse of packed documents");
}

void place_key_gradients(const PackedSizes& sizes, const DocumentTable& table, const void* dk, const void* dv,
                         void* dqkv, CUstream_st* stream) {
  key_gradients<<<blocks_of(sizes), kThreads, 0, stream>>>(sizes, table, static_cast<const int4*>(dk),
                                                           static_cast<const int4*>(dv), static_cast<int4*>(dqkv));
  check_launch("gradients of keys and values");
}

void lse_by_sequence(const float* lse, float* stats, int64_t batch, int64_t heads, int64_t seq, CUstream_st* stream) {
  const auto blocks = static_cast<unsigned>(ceil_div(batch * heads * seq, kThreads));
  split_sequences<<<blocks, kThreads, 0, stream>>>(lse, stats, batch, heads, seq);
  check_launch("lse by sequences");
}

}  // namespace centavo
