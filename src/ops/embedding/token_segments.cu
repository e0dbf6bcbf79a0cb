#include "ops/embedding/token_segments.cuh"

#include <algorithm>

#include "ops/cuda/vectors.cuh"

namespace centavo {
namespace {

constexpr int kThreads = 256;
constexpr int kWarps = kThreads / 32;
constexpr int64_t kSortedAtOnce = 256;  // long segments; more are taken in turn
constexpr int kWordsOfThread = 8;       // of 32 positions each
constexpr int kWindow = kThreads * kWordsOfThread * 32;

int64_t padded(int64_t bytes) { return ceil_div(bytes, 256) * 256; }

int64_t zeroed_bytes(int64_t vocab) { return (vocab + 2) * 4; }

// The lanes of a warp with the same token count as one.
__global__ void __launch_bounds__(kThreads) count_tokens(const int32_t* tokens, TokenSegments to) {
  const int64_t n = grid_thread();
  const int32_t token = n < to.token_count ? tokens[n] : -1;
  const bool named = token >= 0 && token < to.vocab;
  const unsigned same = __match_any_sync(0xffffffffu, named ? token : -1);
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int leader = __ffs(static_cast<int>(same)) - 1;
  int first = 0;
  if (named && lane == leader) first = atomicAdd(to.counts + token, __popc(same));
  first = __shfl_sync(0xffffffffu, first, leader);
  if (named) to.slots[n] = first + __popc(same & ((1u << lane) - 1));
}

// The sum of `value` over the threads before this one, and over all.
struct BlockSum {
  int before, all;
};

// `shared` may be used again behind the next barrier.
__device__ BlockSum sum_before(int value, int (&shared)[kWarps]) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  int sum = value;
#pragma unroll
  for (int apart = 1; apart < 32; apart *= 2) {
    const int other = __shfl_up_sync(0xffffffffu, sum, apart);
    if (lane >= apart) sum += other;
  }
  if (lane == 31) shared[threadIdx.x / 32] = sum;
  __syncthreads();
  BlockSum result{sum - value, 0};
#pragma unroll
  for (int w = 0; w < kWarps; ++w) {
    if (w < static_cast<int>(threadIdx.x) / 32) result.before += shared[w];
    result.all += shared[w];
  }
  return result;
}

__global__ void __launch_bounds__(kThreads) make_room(TokenSegments to) {
  __shared__ int warp_sums[kWarps];
  __shared__ int block_begin;
  const int64_t id = grid_thread();
  const int count = id < to.vocab ? to.counts[id] : 0;
  const BlockSum sum = sum_before(count, warp_sums);
  if (threadIdx.x == 0 && sum.all > 0) block_begin = atomicAdd(to.room, sum.all);
  __syncthreads();
  if (count > 0) to.begins[id] = block_begin + sum.before;
  if (count > kShortSegment) to.long_ids[atomicAdd(to.long_count, 1)] = static_cast<int>(id);
}

__global__ void __launch_bounds__(kThreads) place_tokens(const int32_t* tokens, TokenSegments to) {
  const int64_t n = grid_thread();
  if (n >= to.token_count) return;
  const int32_t token = tokens[n];
  if (token >= 0 && token < to.vocab) to.order[to.begins[token] + to.slots[n]] = static_cast<int>(n);
}

// Sorts positions into `sorted`: as bits of a window of all positions, and the bits in order as positions.
__device__ void sort_as_bits(const int* positions, int count, int64_t tokens, int* sorted) {
  __shared__ uint32_t bits[kThreads * kWordsOfThread];
  __shared__ int warp_sums[kWarps];
  for (int64_t first = 0; first < tokens; first += kWindow) {
#pragma unroll
    for (int w = 0; w < kWordsOfThread; ++w) bits[w * kThreads + threadIdx.x] = 0;
    __syncthreads();
    for (int i = threadIdx.x; i < count; i += kThreads) {
      const int64_t at = positions[i] - first;
      if (at >= 0 && at < kWindow) atomicOr(bits + at / 32, 1u << (at % 32));
    }
    __syncthreads();
    const uint32_t* own = bits + threadIdx.x * kWordsOfThread;
    int own_count = 0;
#pragma unroll
    for (int w = 0; w < kWordsOfThread; ++w) own_count += __popc(own[w]);
    const BlockSum sum = sum_before(own_count, warp_sums);
    int* next = sorted + sum.before;
    for (int w = 0; w < kWordsOfThread; ++w) {
      const int base = static_cast<int>(first) + (static_cast<int>(threadIdx.x) * kWordsOfThread + w) * 32;
      for (uint32_t word = own[w]; word != 0; word &= word - 1) *next++ = base + __ffs(static_cast<int>(word)) - 1;
    }
    sorted += sum.all;
    __syncthreads();
  }
}

__global__ void __launch_bounds__(kThreads) sort_long(TokenSegments to) {
  const int count = *to.long_count;
  for (int i = static_cast<int>(blockIdx.x); i < count; i += static_cast<int>(gridDim.x)) {
    const int id = to.long_ids[i];
    sort_as_bits(to.order + to.begins[id], to.counts[id], to.token_count, to.sorted + to.begins[id]);
  }
}

}  // namespace

int64_t TokenSegments::workspace_bytes(int64_t tokens, int64_t ids) {
  return padded(zeroed_bytes(ids)) + padded(ids * 4) + 3 * padded(tokens * 4) + padded(most_long(tokens) * 4);
}

TokenSegments::TokenSegments(int64_t tokens, int64_t ids, void* workspace) : token_count(tokens), vocab(ids) {
  auto* at = static_cast<std::byte*>(workspace);
  const auto take = [&](int64_t bytes) {
    std::byte* begin = at;
    at += padded(bytes);
    return reinterpret_cast<int*>(begin);
  };
  counts = take(zeroed_bytes(ids));
  room = counts + ids;
  long_count = room + 1;
  begins = take(ids * 4);
  for (int** of_tokens : {&slots, &order, &sorted}) *of_tokens = take(tokens * 4);
  long_ids = take(most_long(tokens) * 4);
}

void TokenSegments::gather(const int32_t* tokens, CUstream_st* stream) const {
  cuda_check(cudaMemsetAsync(counts, 0, static_cast<size_t>(zeroed_bytes(vocab)), stream), "embedding_grad");
  count_tokens<<<blocks_for(token_count, kThreads), kThreads, 0, stream>>>(tokens, *this);
  check_launch("embedding_grad counts tokens");
  make_room<<<blocks_for(vocab, kThreads), kThreads, 0, stream>>>(*this);
  check_launch("embedding_grad makes room");
  place_tokens<<<blocks_for(token_count, kThreads), kThreads, 0, stream>>>(tokens, *this);
  check_launch("embedding_grad places tokens");
  if (most_long(token_count) == 0) return;
  const auto blocks = static_cast<unsigned>(std::min(most_long(token_count), kSortedAtOnce));
  sort_long<<<blocks, kThreads, 0, stream>>>(*this);
  check_launch("embedding_grad sorts long segments");
}

}  // namespace centavo
