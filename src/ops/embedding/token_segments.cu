#include "ops/embedding/token_segments.cuh"

#include "ops/cuda/pack.cuh"
#include "ops/cuda/vectors.cuh"

namespace centavo {
namespace {

constexpr int kThreads = 1024;
constexpr int kWarps = kThreads / 32;
constexpr int kMostPartBits = 7;        // unless a part had too many ids: about a block for each multiprocessor
constexpr int kMostIds = 2 * kThreads;  // of a part
constexpr int kKept = 4096;             // tokens of a part that are listed in shared memory
constexpr int kLoads = 4;               // of a lane on their way, of 4 tokens
constexpr int kBatch = kLoads * 128;    // tokens of a warp on their way
constexpr int kPlaced = 4;              // listed tokens of a lane that get their places together
constexpr unsigned kWarp = 0xffffffffu;

using Quad = Pack<int32_t, 4>;  // tokens side by side

__device__ inline int lane() { return static_cast<int>(threadIdx.x) % 32; }
__device__ inline int warp() { return static_cast<int>(threadIdx.x) / 32; }
// The ids of a part, in order of their index.
struct Part {
  unsigned number, bits, vocab;

  // Of a part before this one?
  __device__ bool comes_after(int token) const { return in_range(token) && part_of(token) < number; }
  __device__ bool has(int token) const { return in_range(token) && part_of(token) == number; }
  __device__ int index_of(int token) const { return token >> bits; }

 private:
  __device__ bool in_range(int token) const { return static_cast<unsigned>(token) < vocab; }
  __device__ unsigned part_of(int token) const { return static_cast<unsigned>(token) & ((1u << bits) - 1); }
};

struct alignas(8) Listed {
  int index, position;
};

// A lane's quads of the kBatch tokens from `first` on, 32 quads apart; -1 stands for tokens that are not there.
__device__ void load_batch(const int32_t* tokens, int64_t first, int64_t count, Quad (&quads)[kLoads]) {
  const int64_t n = first + lane() * 4;
  if (first + kBatch <= count && reinterpret_cast<uintptr_t>(tokens) % sizeof(Quad) == 0) {
#pragma unroll
    for (int i = 0; i < kLoads; ++i) quads[i] = Quad::load(tokens + n + i * 128);
    return;
  }
#pragma unroll
  for (int i = 0; i < kLoads; ++i) {
#pragma unroll
    for (int k = 0; k < 4; ++k) quads[i].at[k] = n + i * 128 + k < count ? tokens[n + i * 128 + k] : -1;
  }
}

// Calls visit(n, tokens from n on) for the tokens of a warp: each has a chunk of them, in the order of warps. All lanes
// visit together, in the order of tokens.
template <class F>
__device__ void visit_quads(const int32_t* tokens, int64_t count, F&& visit) {
  const int64_t chunk = ceil_div(count, kWarps * kBatch) * kBatch;
  const int64_t end = min((warp() + 1) * chunk, count);
  for (int64_t first = warp() * chunk; first < end; first += kBatch) {
    Quad quads[kLoads];
    load_batch(tokens, first, count, quads);
#pragma unroll
    for (int i = 0; i < kLoads; ++i) visit(first + i * 128 + lane() * 4, quads[i]);
  }
}

struct Room {
  int begin;          // in `order`
  int size;           // tokens of the part
  int begin_of_warp;  // tokens of the part in the chunks of warps before
};

__device__ Room make_room(const int32_t* tokens, int64_t count, const Part& part) {
  __shared__ int before[kWarps], own[kWarps];
  int before_count = 0;
  int own_count = 0;
  visit_quads(tokens, count, [&](int64_t, const Quad& quad) {
#pragma unroll
    for (const int token : quad.at) {
      before_count += part.comes_after(token);
      own_count += part.has(token);
    }
  });
  before_count = __reduce_add_sync(kWarp, before_count);
  own_count = __reduce_add_sync(kWarp, own_count);
  if (lane() == 0) {
    before[warp()] = before_count;
    own[warp()] = own_count;
  }
  __syncthreads();
  const int of_warp = own[lane()];
  return {__reduce_add_sync(kWarp, before[lane()]), __reduce_add_sync(kWarp, of_warp),
          __reduce_add_sync(kWarp, lane() < warp() ? of_warp : 0)};
}

// The part's tokens of a warp, in order.
__device__ void list_tokens(const int32_t* tokens, int64_t count, const Part& part, Listed* list) {
  visit_quads(tokens, count, [&](int64_t n, const Quad& quad) {
    bool own[4];
#pragma unroll
    for (int k = 0; k < 4; ++k) own[k] = part.has(quad.at[k]);
    if (!__any_sync(kWarp, own[0] || own[1] || own[2] || own[3])) return;
    Listed* next = list;
#pragma unroll
    for (const bool is_own : own) {
      const unsigned lanes = __ballot_sync(kWarp, is_own);
      next += rank_in(lanes);
      list += __popc(lanes);
    }
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      if (own[k]) *next++ = {part.index_of(quad.at[k]), static_cast<int>(n) + k};
    }
  });
}

// The entry at i; of none the index is -1.
__device__ inline Listed entry_of(const Listed* list, int size, int64_t i) {
  return i < size ? list[i] : Listed{-1, 0};
}

// Adds lanes of a warp to the count of their index; the first lane of an index gets what was counted before.
__device__ inline int add_lanes(int* counts, int index, unsigned same) {
  return index >= 0 && rank_in(same) == 0 ? atomicAdd(counts + index, __popc(same)) : 0;
}

__device__ void count_ids(const Listed* list, int size, int* counts) {
  for (int64_t i = warp() * 32; i < size; i += kThreads) {
    const int index = entry_of(list, size, i + lane()).index;
    add_lanes(counts, index, __match_any_sync(kWarp, index));
  }
}

// The sum of `value` over the threads before this one.
__device__ int sum_before(int value) {
  __shared__ int warp_sums[kWarps];
  int sum = value;
#pragma unroll
  for (int apart = 1; apart < 32; apart *= 2) {
    const int other = __shfl_up_sync(kWarp, sum, apart);
    if (lane() >= apart) sum += other;
  }
  if (lane() == 31) warp_sums[warp()] = sum;
  __syncthreads();
  return sum - value + __reduce_add_sync(kWarp, lane() < warp() ? warp_sums[lane()] : 0);
}

// Of the places whose multiples of kShortSegment + 1 lie in a segment, of which a long one has at least one, the first
// is the segment's own.
__device__ void list_if_long(const TokenSegments& to, int slot, int begin, int end) {
  constexpr int64_t kApart = kShortSegment + 1;
  for (int64_t place = ceil_div(begin, kApart); place * kApart < end; ++place) {
    const bool own = (place - 1) * kApart < begin && end - begin > kShortSegment;
    to.long_slots[place] = own ? slot : -1;
  }
}

// Turns the counts of a part's ids into the places where their segments begin.
__device__ void begin_segments(const TokenSegments& to, int begin, int (&counts)[kMostIds]) {
  const int first = 2 * static_cast<int>(threadIdx.x);
  const int count = counts[first];
  const int both = count + counts[first + 1];
  begin += sum_before(both);
  counts[first] = begin;
  counts[first + 1] = begin + count;
  const int64_t slot = int64_t{blockIdx.x} * to.ids_of_part;
  for (int i = first; i < min(first + 2, to.ids_of_part); ++i) {
    to.begins[slot + i] = counts[i];
    list_if_long(to, static_cast<int>(slot + i), counts[i], i == first ? begin + count : begin + both);
  }
}

// What follows the last segment.
__device__ void end_segments(const TokenSegments& to, int end) {
  to.begins[int64_t{gridDim.x} * to.ids_of_part] = end;
  for (int64_t place = ceil_div(end, kShortSegment + 1); place < to.long_places; ++place) to.long_slots[place] = -1;
}

// One warp: of the tokens of an id the earlier one gets the earlier place. `next` are the free places of the ids.
__device__ void place_tokens(const Listed* list, int size, int* next, int* order) {
  for (int64_t from = 0; from < size; from += 32 * kPlaced) {
    Listed entries[kPlaced];
    unsigned same[kPlaced];
    int first[kPlaced];
#pragma unroll
    for (int g = 0; g < kPlaced; ++g) entries[g] = entry_of(list, size, from + g * 32 + lane());
#pragma unroll
    for (int g = 0; g < kPlaced; ++g) same[g] = __match_any_sync(kWarp, entries[g].index);
#pragma unroll
    for (int g = 0; g < kPlaced; ++g) {
      first[g] = add_lanes(next, entries[g].index, same[g]);
      __syncwarp();  // the next 32 come behind these
    }
#pragma unroll
    for (int g = 0; g < kPlaced; ++g) {
      const int place = __shfl_sync(kWarp, first[g], __ffs(static_cast<int>(same[g])) - 1) + rank_in(same[g]);
      if (entries[g].index >= 0) order[place] = entries[g].position;
    }
  }
}

__global__ void __launch_bounds__(kThreads) gather_tokens(const int32_t* tokens, TokenSegments to) {
  __shared__ int ids[kMostIds];  // counts, then free places
  __shared__ Listed kept[kKept];
  for (int i = threadIdx.x; i < kMostIds; i += kThreads) ids[i] = 0;
  const Part part{blockIdx.x, static_cast<unsigned>(to.part_bits), static_cast<unsigned>(to.vocab)};
  const Room room = make_room(tokens, to.token_count, part);
  Listed* list = room.size <= kKept ? kept : reinterpret_cast<Listed*>(to.listed) + room.begin;
  list_tokens(tokens, to.token_count, part, list + room.begin_of_warp);
  __syncthreads();
  count_ids(list, room.size, ids);
  __syncthreads();
  begin_segments(to, room.begin, ids);
  if (blockIdx.x == gridDim.x - 1 && threadIdx.x == 0) end_segments(to, room.begin + room.size);
  __syncthreads();
  if (warp() == 0) place_tokens(list, room.size, ids, to.order);
}

int part_bits_of(int64_t vocab) {
  int bits = 0;
  while ((bits < kMostPartBits && int64_t{1} << bits < vocab) || ceil_div(vocab, int64_t{1} << bits) > kMostIds) ++bits;
  return bits;
}

int64_t ids_of_part_of(int64_t vocab) { return ceil_div(vocab, int64_t{1} << part_bits_of(vocab)); }

int long_places_of(int64_t tokens) { return static_cast<int>(ceil_div(tokens, kShortSegment + 1)); }

int64_t padded(int64_t bytes) { return ceil_div(bytes, 256) * 256; }

}  // namespace

int64_t TokenSegments::workspace_bytes(int64_t tokens, int64_t ids) {
  const int64_t slots = ids_of_part_of(ids) << part_bits_of(ids);
  return padded((slots + 1) * 4) + padded(tokens * 4) + padded(int64_t{long_places_of(tokens)} * 4) +
         padded(tokens * 8);
}

TokenSegments::TokenSegments(int64_t tokens, int64_t ids, void* workspace)
    : token_count(tokens),
      vocab(ids),
      part_bits(part_bits_of(ids)),
      ids_of_part(static_cast<int>(ids_of_part_of(ids))),
      long_places(long_places_of(tokens)) {
  auto* at = static_cast<std::byte*>(workspace);
  const auto take = [&](int64_t bytes) {
    std::byte* begin = at;
    at += padded(bytes);
    return begin;
  };
  begins = reinterpret_cast<int*>(take((slots() + 1) * 4));
  order = reinterpret_cast<int*>(take(tokens * 4));
  long_slots = reinterpret_cast<int*>(take(int64_t{long_places} * 4));
  listed = reinterpret_cast<int2*>(take(tokens * 8));
}

void TokenSegments::gather(const int32_t* tokens, CUstream_st* stream) const {
  gather_tokens<<<static_cast<unsigned>(parts()), kThreads, 0, stream>>>(tokens, *this);
  check_launch("embedding_grad gathers tokens");
}

}  // namespace centavo
