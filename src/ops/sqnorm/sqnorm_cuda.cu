// A warp sums two norm blocks at a time, a thread one of the header's 16 lanes, so that the order of the sums and with
// it every bit is the CPU's. A thread reads 4 bytes at a time, 16 times before it needs the first of them, and the next
// 16 while it sums these. Where that is two bf16, which belong to two lanes, two threads exchange halves. Reads g once;
// the partials are 1/4096 of it.
//
// What is no whole batch (the end of a tensor, small blocks, g off the multiples of 4 bytes) is read element by
// element.

#include "ops/cuda/floats.cuh"
#include "ops/cuda/vectors.cuh"
#include "ops/sqnorm/sqnorm.h"

namespace centavo {
namespace {

constexpr int kLanes = 16;            // of a norm block, so threads
constexpr int kBlocks = 32 / kLanes;  // norm blocks of a warp
constexpr int kWarps = 4;
constexpr int kThreads = 32 * kWarps;
constexpr int kBatch = 16;  // words of a thread on their way

using Word = uint32_t;
using Batch = Word[kBatch];

template <class T>
struct Gradient {
  const T* g;
  int64_t elements, block;
  bool has_words;
};

template <class T>
constexpr int kBatchElements = kBatch* kLanes* static_cast<int>(sizeof(Word) / sizeof(T));

// The thread's number in its norm block.
__device__ inline int thread_of_block() { return static_cast<int>(threadIdx.x) % kLanes; }

__device__ inline void add_square(float x, double& sum) {
  const double wide = x;
  sum = fma(wide, wide, sum);
}

// The sum over the threads of a block, in its first: thread t adds that of t + apart, for each of kApart in turn.
template <int... kApart>
__device__ inline double tree_of_threads(double sum) {
  ((sum += __shfl_down_sync(0xffffffffu, sum, kApart, kLanes)), ...);
  return sum;
}

// Whose lane a thread sums, how it adds its words, and the tree of the lanes: l and l + 8, then + 4, + 2, + 1.
template <class T>
struct Lane;

template <>
struct Lane<float> {
  __device__ static int number() { return thread_of_block(); }
  __device__ static void add(Word word, double& sum) { add_square(__uint_as_float(word), sum); }
  __device__ static double tree(double sum) { return tree_of_threads<8, 4, 2, 1>(sum); }
};

// Of 16 words the first 8 have the 16 lanes of one row of elements, two in each, the others those of the next row. So
// threads t and t + 8 read lanes 2 t and 2 t + 1 of two rows; t keeps the lower lane, t + 8 the upper.
template <>
struct Lane<__nv_bfloat16> {
  __device__ static bool upper() { return thread_of_block() >= 8; }
  __device__ static int number() { return thread_of_block() % 8 * 2 + (upper() ? 1 : 0); }
  __device__ static void add(Word word, double& sum) {
    const Word other = __shfl_xor_sync(0xffffffffu, word, 8);
    // The lane's elements of both rows, the first row's below.
    const Word rows = upper() ? __byte_perm(word, other, 0x3276) : __byte_perm(word, other, 0x5410);
    add_square(__uint_as_float(rows << 16), sum);
    add_square(__uint_as_float(rows & 0xffff0000u), sum);
  }
  __device__ static double tree(double sum) { return tree_of_threads<4, 2, 1, 8>(sum); }
};

__device__ inline void load_batch(const Word* from, int number, Batch& batch) {
#pragma unroll
  for (int w = 0; w < kBatch; ++w) batch[w] = __ldcs(from + (number * kBatch + w) * kLanes);
}

template <class T>
__device__ inline void add_batch(const Batch& batch, double& sum) {
#pragma unroll
  for (int w = 0; w < kBatch; ++w) Lane<T>::add(batch[w], sum);
}

// The thread's lane of a block of whole batches. All threads of a warp call this.
template <class T>
__device__ inline double sum_batches(const T* block_begin, int64_t block) {
  const Word* from = reinterpret_cast<const Word*>(block_begin) + thread_of_block();
  const int batches = static_cast<int>(block) / kBatchElements<T>;
  double sum = 0;
  Batch even, odd;
  load_batch(from, 0, even);
  for (int b = 0; b < batches; b += 2) {
    if (b + 1 < batches) load_batch(from, b + 1, odd);
    add_batch<T>(even, sum);
    if (b + 2 < batches) load_batch(from, b + 2, even);
    if (b + 1 < batches) add_batch<T>(odd, sum);
  }
  return sum;
}

// The same of any block b.
template <class T>
__device__ inline double sum_elements(const Gradient<T>& in, int64_t b) {
  const int64_t begin = min(b * in.block, in.elements);
  const int64_t end = min(begin + in.block, in.elements);
  double sum = 0;
#pragma unroll 8
  for (int64_t i = begin + Lane<T>::number(); i < end; i += kLanes) add_square(to_float(in.g[i]), sum);
  return sum;
}

template <class T>
__global__ void __launch_bounds__(kThreads) sum_squares(Gradient<T> in, int64_t blocks, float* partials) {
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int64_t first = kBlocks * (int64_t{blockIdx.x} * kWarps + warp);
  if (first >= blocks) return;
  const int64_t b = first + lane / kLanes;
  const bool whole = in.has_words && (first + kBlocks) * in.block <= in.elements;
  const double sum = whole ? sum_batches(in.g + b * in.block, in.block) : sum_elements(in, b);
  const double total = Lane<T>::tree(sum);
  if (lane % kLanes == 0 && b < blocks) partials[b] = __double2float_rn(total);
}

}  // namespace

CudaKernel sqnorm_cuda(const OpView& v, const CudaTraits&) {
  const int64_t elements = v.input(0).elements();
  const int64_t block = v.whole("block");
  const int64_t blocks = norm_blocks(elements, block);
  const unsigned grid = blocks_for(blocks, kBlocks * kWarps);
  return visit_cuda(v.input(0).dtype, [&](auto tag) -> CudaKernel {
    using T = typename decltype(tag)::type;
    return [=](const CudaCall& call) {
      const T* g = call.in<T>(0);
      const bool aligned = reinterpret_cast<uintptr_t>(g) % sizeof(Word) == 0;
      const Gradient<T> in{g, elements, block, aligned && block % kBatchElements<T> == 0};
      sum_squares<<<grid, kThreads, 0, call.stream>>>(in, blocks, call.out<float>(0));
      check_launch("sqnorm");
    };
  });
}

}  // namespace centavo
