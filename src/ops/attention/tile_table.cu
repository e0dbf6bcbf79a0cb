// One block a table: documents are few and each step of a scan needs the one before it.
#include "ops/attention/tile_table.h"

#include <algorithm>
#include <limits>

#include "ops/attention/tile_table.cuh"
#include "ops/cuda/device.cuh"

namespace centavo::flash {

int64_t tile_capacity(int64_t tokens, int64_t documents, int64_t rows_per_token, int64_t tile_rows) {
  // Each segment that is not empty may end with a part of a tile.
  return tokens * rows_per_token / tile_rows + std::min(documents + 2, tokens);
}

int64_t table_bytes(int64_t documents, int64_t capacity) {
  const int64_t bytes =
      capacity * static_cast<int64_t>(sizeof(TableTile)) + 2 * (documents + 3) * static_cast<int64_t>(sizeof(int32_t));
  return ceil_div(bytes, 16) * 16;
}

TileTable make_table(int64_t tokens, int64_t documents, int64_t rows_per_token, int64_t tile_rows, TileOrder order) {
  const int64_t capacity = tile_capacity(tokens, documents, rows_per_token, tile_rows);
  CHECK(tokens * rows_per_token < std::numeric_limits<int32_t>::max() - 2 * tile_rows &&
            capacity + documents < std::numeric_limits<int32_t>::max() - 2 * kTableThreads,
        "attention over {} tokens and {} documents counts rows past 32 bits", tokens, documents);
  return {.rows_per_token = static_cast<int32_t>(rows_per_token),
          .tile_rows = static_cast<int32_t>(tile_rows),
          .order = order,
          .capacity = static_cast<int32_t>(capacity)};
}

TileTable table_at(TileTable table, int64_t documents, void* memory) {
  table.tiles = static_cast<TableTile*>(memory);
  table.begins = reinterpret_cast<int32_t*>(table.tiles + table.capacity);
  table.tiles_before = table.begins + documents + 3;
  return table;
}

void fill_tables(const int32_t* cu_seqlens, int64_t documents, int64_t tokens, const TileTable& a, const TileTable& b,
                 CUstream_st* stream) {
  const int tables = b.capacity > 0 ? 2 : 1;
  fill_table<<<tables, kTableThreads, 0, stream>>>(
      Boundaries{cu_seqlens, static_cast<int32_t>(documents), static_cast<int32_t>(tokens)}, a, b);
  check_launch("fill_table");
}

}  // namespace centavo::flash
