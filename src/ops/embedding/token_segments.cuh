// The tokens of embedding_grad gathered by id: the positions of an id in the list of tokens lie side by side, in order,
// as its segment.
//
// One kernel. Of 2^b parts, part p has the ids p, p + 2^b, p + 2 * 2^b, ..., so that neighbours, which are often
// frequent together, are apart; and a block of its own, which
//   counts its tokens and those of the parts before: where its room begins
//   lists its tokens with their positions, in order
//   counts the tokens of each id: where each segment begins in that room
//   gives each token of the list, in order, the next place of its segment.
// No block waits for another, no atomic reaches memory, and nothing is left to chance. Ids out of range belong to no
// part.
//
// Every block reads all tokens twice, from the L2 cache but for the first time: 8 * 2^b bytes a token, 2^b being 128
// and, above 262,144 ids, the power of two that leaves a part 2,048. Writes 4 bytes an id and a token, and 8 more a
// token of parts with more than 4,096. One warp gives a part's tokens their places, 128 at a time: where most tokens
// are one id, it goes over nearly all of them.
#pragma once

#include <cstdint>

struct CUstream_st;
struct int2;

namespace centavo {

constexpr int kShortSegment = 32;  // tokens; longer ones are listed

// Of the lanes in `lanes`, how many come before this one.
__device__ inline int rank_in(unsigned lanes) { return __popc(lanes & ((1u << threadIdx.x % 32) - 1)); }

// In the workspace of the call. Ids have slots: those of a part side by side, in order.
struct TokenSegments {
  TokenSegments(int64_t tokens, int64_t ids, void* workspace);

  static int64_t workspace_bytes(int64_t tokens, int64_t ids);
  // Gathers `tokens` [token_count].
  void gather(const int32_t* tokens, CUstream_st* stream) const;

  constexpr int64_t parts() const { return int64_t{1} << part_bits; }
  constexpr int64_t slots() const { return parts() * ids_of_part; }
  constexpr int64_t most_long() const { return token_count / (kShortSegment + 1); }

  int64_t token_count, vocab;
  int part_bits;
  int ids_of_part;  // slots; the last may have no id
  int* begins;      // [slots + 1] where a segment begins in `order`, and ends where the next one begins
  int* order;       // [N] the segments
  int* long_slots;  // [long_places] each long segment's slot in a place of its own, -1 in the others
  int long_places;  // one for each kShortSegment + 1 tokens, and for the rest
  int2* listed;     // [N] tokens of parts that have many
};

}  // namespace centavo
