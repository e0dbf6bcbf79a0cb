// How the CPU kernels of attention cut their work.
//
// The H / K query heads that share a key/value head are laid side by side: row r of (document, key/value head) is
// token r / group of the document, query head r % group of the group. A row tile is kTile such rows, a key tile kTile
// keys; positions count from the start of the document. Work items are (tile, key/value head), independent of each
// other and of the number of threads.
#pragma once

#include <algorithm>
#include <limits>

#include "ops/attention/attention_sizes.h"
#include "ops/attention/tile_product.h"

namespace centavo::flash {

inline constexpr int64_t kTile = 64;

struct Document {
  int64_t index = 0;
  int64_t begin = 0;
  int64_t length = 0;
};

// The documents of a batch, safe whatever cu_seqlens holds: ordered, disjoint, inside [0, tokens).
struct Documents {
  const int32_t* cu_seqlens;
  int64_t count;
  int64_t tokens;

  // f(document) in order, until it returns false.
  template <class F>
  void each(const F& f) const {
    int64_t begin = std::clamp<int64_t>(cu_seqlens[0], 0, tokens);  // NOLINT: an operand of the op
    for (int64_t d = 0; d < count; ++d) {
      const int64_t end = std::clamp<int64_t>(cu_seqlens[d + 1], begin, tokens);
      if (!f(Document{d, begin, end - begin})) return;
      begin = end;
    }
  }
};

inline int64_t tiles_of(int64_t rows) { return (rows + kTile - 1) / kTile; }

// Number of tiles when each token makes `rows_per_token` rows.
inline int64_t count_tiles(const Documents& documents, int64_t rows_per_token) {
  int64_t tiles = 0;
  documents.each([&](const Document& d) {
    tiles += tiles_of(d.length * rows_per_token);
    return true;
  });
  return tiles;
}

struct Tile {
  Document document;
  int64_t begin = 0;  // first row in the document
  int64_t rows = 0;
};

struct Item {
  Tile tile;
  int64_t kv = 0;
};

// The work items in order: document by document, `together` heads at a time, whose tiles take turns. As many threads
// then each stay with one head, whose rows their cache holds.
inline Item item_at(const Documents& documents, int64_t rows_per_token, int64_t kv_heads, int64_t together,
                    int64_t index) {
  Item found;
  documents.each([&](const Document& d) {
    const int64_t rows = d.length * rows_per_token;
    const int64_t tiles = tiles_of(rows);
    if (index >= tiles * kv_heads) {
      index -= tiles * kv_heads;
      return true;
    }
    const int64_t first_head = index / (tiles * together) * together;  // NOLINT: index < tiles * kv_heads
    const int64_t turns = std::min(together, kv_heads - first_head);
    const int64_t turn = index - tiles * first_head;
    const int64_t begin = turn / turns * kTile;
    found = {{d, begin, std::min(kTile, rows - begin)}, first_head + turn % turns};
    return false;
  });
  return found;
}

struct RowTile {
  Document document;
  int64_t begin, rows, group, kv;
};

// Token and head of each row of a tile, and the keys [first, last] it sees; lanes beyond the rows see none.
struct Rows {
  int64_t token[kTile];
  int64_t head[kTile];
  int32_t first[kTile];
  int32_t last[kTile];
};

// `position` is where the document's first token stands, `keys` how many keys there are.
inline void find_rows(const RowTile& tile, int64_t window, int64_t position, int64_t keys, Rows& rows) {
  int64_t token = tile.begin / tile.group;
  int64_t member = tile.begin % tile.group;
  for (int64_t r = 0; r < kTile; ++r) {
    const int64_t own = position + token;
    rows.token[r] = tile.document.begin + token;
    rows.head[r] = tile.kv * tile.group + member;
    rows.first[r] = static_cast<int32_t>(window == 0 ? 0 : std::max<int64_t>(0, own - window + 1));
    rows.last[r] = r < tile.rows ? static_cast<int32_t>(std::min(own, keys - 1)) : -1;
    if (++member == tile.group) {
      member = 0;
      ++token;
    }
  }
}

// What a row tile and the keys [begin, begin + count) have to do with each other. On the causal diagonal half of it is
// void: products and loops leave out what no row sees.
struct Meeting {
  const RowTile& tile;
  const Rows& rows;
  int64_t position;  // of the document's first query
  int64_t begin, count;

  // The first row at or after key begin + j; the number of rows when there is none.
  int64_t first_row(int64_t j) const {
    return std::clamp<int64_t>((begin + j - position) * tile.group - tile.begin, 0, tile.rows);
  }
  // Number of keys seen by some row before row `end`, when no window hides them.
  int64_t keys_before(int64_t end) const {
    return std::clamp<int64_t>(rows.last[std::min(end, tile.rows) - 1] - begin + 1, 0, count);
  }
  // Does every row see every key? Both bounds grow with the row.
  bool is_full() const { return begin + count - 1 <= rows.last[0] && begin >= rows.first[tile.rows - 1]; }
};

// Far below any score, and finite: differences stay numbers.
template <class A>
inline constexpr A kUnseen = std::numeric_limits<A>::lowest();

// Tile [rows, columns] = scale * rows given by address(r); zeros up to whole blocks and lanes.
template <class T, class A, class Address>
void load_rows(int64_t rows, int64_t columns, A scale, const Address& address, Strided<A> tile) {
  for (int64_t r = 0; r < rows; ++r) {
    const T* source = address(r);
    A* target = tile.data + r * tile.row;
#pragma omp simd
    for (int64_t c = 0; c < columns; ++c) target[c] = convert<A>(source[c]) * scale;
    std::fill(target + columns, target + tile.row, A(0));
  }
  std::fill(tile.data + rows * tile.row, tile.data + round_up(rows, kBlockRows) * tile.row, A(0));
}

// The transpose: tile [columns, kTile], rows become lanes; lanes without a row are zero. Columns are counted up to
// whole vectors, so the tile has room for kMaxHeadSize of them.
template <class T, class A, class Address>
void load_transposed(int64_t rows, int64_t columns, A scale, const Address& address, A* tile) {
  constexpr int64_t lanes = kVectorLanes<A>;
  alignas(64) A strip[lanes * kMaxHeadSize];
  const int64_t strip_row = round_up(columns, lanes);
  for (int64_t r = 0; r < rows; r += lanes) {
    const int64_t count = std::min(lanes, rows - r);
    load_rows<T>(
        count, columns, scale, [&](int64_t i) { return address(r + i); }, Strided<A>{strip, strip_row});
    std::fill(strip + count * strip_row, strip + lanes * strip_row, A(0));
    for (int64_t c = 0; c < columns; c += lanes) {
      Vector<A> block[lanes];
      for (int64_t i = 0; i < lanes; ++i) block[i] = load_vector(strip + i * strip_row + c);
      transpose<1, A>(block);
      for (int64_t i = 0; i < lanes; ++i) std::memcpy(tile + (c + i) * kTile + r, &block[i], sizeof(block[i]));
    }
  }
}

// Tokens of no document: f(begin, end) over the two ranges they fill.
template <class F>
void each_padding(const Documents& documents, const F& f) {
  int64_t begin = documents.tokens;
  int64_t end = 0;
  documents.each([&](const Document& d) {
    begin = std::min(begin, d.begin);
    end = d.begin + d.length;
    return true;
  });
  f(0, begin);
  f(end, documents.tokens);
}

}  // namespace centavo::flash
