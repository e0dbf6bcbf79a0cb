// A kernel of attention with what it is launched with, chosen when the op is prepared.
#pragma once

#include <algorithm>
#include <limits>

#include "ops/attention/attention_sizes.h"
#include "ops/attention/rows_cuda.cuh"
#include "ops/attention/simt_tiles.cuh"
#include "ops/cuda/device.cuh"

namespace centavo::flash {

// Positions, and a window behind one, are counted in 32 bits.
inline constexpr int64_t kMostPositions = int64_t{1} << 30;

inline Heads heads_of(const AttentionSizes& s) {
  return {.tokens = static_cast<int32_t>(s.tokens),
          .heads = static_cast<int32_t>(s.heads),
          .kv_heads = static_cast<int32_t>(s.kv_heads),
          .head_size = static_cast<int32_t>(s.head_size),
          .window = static_cast<int32_t>(std::min(s.window, kMostPositions)),
          .group = Divisor(static_cast<uint32_t>(s.group())),
          .scale = attention_scale<float>(s)};
}

// Args has `heads` and `tiles`; a block takes one tile of one key/value head.
template <class Args>
struct TileKernel {
  const char* name = nullptr;
  void (*kernel)(Args) = nullptr;
  int threads = 0;
  int shared_bytes = 0;
  int64_t tile_rows = 0;

  // More shared memory than a kernel gets unasked.
  void prepare() const {
    cuda_check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_bytes), name);
  }
  void launch(Args args, const TileTable& table, CUstream_st* stream) const {
    args.tiles = table.tiles;
    const uint32_t blocks = static_cast<uint32_t>(table.capacity) * static_cast<uint32_t>(args.heads.kv_heads);
    kernel<<<blocks, threads, shared_bytes, stream>>>(args);
    check_launch(name);
  }
};

// The table of a kernel's tiles. CHECKs that its blocks fit into a grid.
inline TileTable table_of(const AttentionSizes& s, int64_t rows_per_token, int64_t tile_rows, TileOrder order) {
  const TileTable table = make_table(s.tokens, s.documents, rows_per_token, tile_rows, order);
  CHECK(table.capacity * s.kv_heads < std::numeric_limits<int32_t>::max(), "attention needs {} tiles of {} heads",
        table.capacity, s.kv_heads);
  return table;
}

// Calls f(SimtShape) with the shape for a head size: tiles of 64 rows while shared memory holds them.
template <class F>
auto visit_simt(int64_t head_size, F&& f) {
  if (head_size <= 64) return f(SimtShape<64, 4>{});
  if (head_size <= 128) return f(SimtShape<64, 8>{});
  return f(SimtShape<32, 16>{});
}

inline int64_t simt_tile_rows(int64_t head_size) {
  return visit_simt(head_size, [](auto shape) -> int64_t { return decltype(shape)::kTile; });
}

// Calls f(std::integral_constant<int, D>) with the head size that a bf16 kernel is compiled for.
template <class F>
auto visit_tensor(int64_t head_size, F&& f) {
  if (head_size <= 64) return f(std::integral_constant<int, 64>{});
  if (head_size <= 96) return f(std::integral_constant<int, 96>{});
  if (head_size <= 128) return f(std::integral_constant<int, 128>{});
  return f(std::integral_constant<int, 256>{});
}

// Rows that tensor cores take: whole vectors of 16 bytes.
inline bool has_vectors(DType dtype, int64_t head_size) { return dtype == DType::bf16 && head_size % 8 == 0; }

inline bool is_aligned(const void* pointer) { return reinterpret_cast<uintptr_t>(pointer) % 16 == 0; }

}  // namespace centavo::flash
