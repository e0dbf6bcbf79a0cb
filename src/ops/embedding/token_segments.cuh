// The tokens of embedding_grad gathered by id: each id's positions in the list of tokens lie side by side, as its
// segment.
//
// Tokens are counted, each id gets room for its segment, and every token writes its position there, in whatever order
// the atomics grant: a segment is sorted before its rows are summed, and then no order is left to chance. Long segments
// come sorted. Ids out of range belong to no segment. Moves about 8 bytes an id and 30 a token.
#pragma once

#include <cstdint>

struct CUstream_st;

namespace centavo {

constexpr int kShortSegment = 32;  // tokens; longer ones are listed and sorted

// In the workspace of the call.
struct TokenSegments {
  TokenSegments(int64_t tokens, int64_t ids, void* workspace);

  static int64_t most_long(int64_t tokens) { return tokens / (kShortSegment + 1); }
  static int64_t workspace_bytes(int64_t tokens, int64_t ids);
  // Gathers `tokens` [token_count].
  void gather(const int32_t* tokens, CUstream_st* stream) const;

  int64_t token_count, vocab;
  int* counts;      // [V] tokens of each id; zeroed with the two behind it
  int* room;        // tokens that have room so far
  int* long_count;  // segments of more than kShortSegment tokens
  int* begins;      // [V] where each id's segment begins, if it has tokens
  int* slots;       // [N] which of its segment's places a token has
  int* order;       // [N] the segments, unsorted
  int* sorted;      // [N] the long ones, sorted
  int* long_ids;    // [most_long]
};

}  // namespace centavo
