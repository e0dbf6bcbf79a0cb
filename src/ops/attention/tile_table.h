// Which tiles there are: found on the GPU, because documents are data.
//
// The segments of a batch are its documents and the padding before and after them; together they are all tokens. Row r
// of a segment is its token r / rows_per_token. A table cuts the rows of each segment into tiles of tile_rows. Its
// capacity depends on shapes alone; entries past the tiles there are have length 0.
#pragma once

#include <cstdint>

struct CUstream_st;

namespace centavo::flash {

struct alignas(16) TableTile {
  int32_t begin;     // first token of the segment
  int32_t length;    // tokens of the segment; 0: no tile
  int32_t first;     // first row of the tile, in the segment
  int32_t document;  // -1: padding
};

enum class TileOrder : uint8_t { first_tile_first, last_tile_first };

struct TileTable {
  int32_t rows_per_token = 1;
  int32_t tile_rows = 0;
  TileOrder order = TileOrder::first_tile_first;
  int32_t capacity = 0;
  TableTile* tiles = nullptr;       // [capacity]
  int32_t* begins = nullptr;        // [max_docs + 3] of the segments; the last is N
  int32_t* tiles_before = nullptr;  // [max_docs + 3] tiles of earlier segments
};

// The most tiles that documents of these tokens can have.
int64_t tile_capacity(int64_t tokens, int64_t documents, int64_t rows_per_token, int64_t tile_rows);

// Bytes of a table's arrays, a multiple of 16.
int64_t table_bytes(int64_t documents, int64_t capacity);

// A table without memory. CHECKs that rows can be counted in 32 bits.
TileTable make_table(int64_t tokens, int64_t documents, int64_t rows_per_token, int64_t tile_rows, TileOrder order);

// The table with its arrays at `memory`, a multiple of 16.
TileTable table_at(TileTable table, int64_t documents, void* memory);

// Enqueues the filling of one or two tables (b may have no tiles).
void fill_tables(const int32_t* cu_seqlens, int64_t documents, int64_t tokens, const TileTable& a, const TileTable& b,
                 CUstream_st* stream);

}  // namespace centavo::flash
