// A warp sums four norm blocks at a time, two of the header's 16 lanes a thread, so that the order of the sums and with
// it every bit is the CPU's. 16-byte loads do not lie in that order: pieces of 512 bytes of each block are copied to
// shared memory behind the warp's back, three of them on their way while the fourth is summed, and are read back two
// lanes at a time. An element costs a conversion and a multiply-add of f64, at most half of what a GPU with fast f64
// (8.0, 9.0) does while memory delivers bf16. Reads g once; the partials are 1/4096 of it.
//
// What is no whole number of pieces (the end of a tensor, g off the multiples of 16 bytes) is read element by element.

#include "ops/cuda/copies.cuh"
#include "ops/cuda/floats.cuh"
#include "ops/cuda/pack.cuh"
#include "ops/cuda/vectors.cuh"
#include "ops/sqnorm/sqnorm.h"

namespace centavo {
namespace {

constexpr int kLanes = 16;            // of a norm block
constexpr int kPairs = kLanes / 2;    // threads of a norm block
constexpr int kBlocks = 32 / kPairs;  // norm blocks of a warp
constexpr int kWarps = 4;
constexpr int kThreads = 32 * kWarps;
constexpr int kPieceBytes = 32 * 16;
constexpr int kPieces = 4;  // of a norm block in shared memory

template <class T>
struct Gradient {
  const T* g;
  int64_t elements, block;
  bool aligned;
};

template <class T>
constexpr int kPieceElements = kPieceBytes / static_cast<int>(sizeof(T));

// A piece of each block. Padded by 16 elements: the blocks of a warp are then read from different banks.
template <class T>
using Piece = T[kBlocks][kPieceElements<T> + kLanes];

// Piece p of kBlocks whole blocks from `first` on.
template <class T>
__device__ inline void copy_piece(const T* first, int64_t block, int p, Piece<T>& piece) {
  constexpr int kSize = 16 / static_cast<int>(sizeof(T));
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int b = 0; b < kBlocks; ++b) {
    copy_async_16(piece[b] + lane * kSize, first + b * block + p * kPieceElements<T> + lane * kSize, false);
  }
}

__device__ inline void add_square(float x, double& sum) {
  const double wide = x;
  sum = fma(wide, wide, sum);
}

// Adds the thread's two lanes of its block, the squares of each in order.
template <class T>
__device__ inline void add_piece(const Piece<T>& piece, double (&sum)[2]) {
  const int lane = threadIdx.x % 32;
  const T* from = piece[lane / kPairs] + lane % kPairs * 2;
#pragma unroll
  for (int i = 0; i < kPieceElements<T>; i += kLanes) {
    float x[2];
    unpack(Pack<T, 2>::load(from + i).at, x);
    add_square(x[0], sum[0]);
    add_square(x[1], sum[1]);
  }
}

// kBlocks whole blocks, each a whole number of pieces, from `first` on.
template <class T>
__device__ inline void sum_in_pieces(const T* first, int64_t block, Piece<T> (&shared)[kPieces], double (&sum)[2]) {
  const int pieces = static_cast<int>(block) / kPieceElements<T>;
  for (int p = 0; p < kPieces - 1; ++p) {
    if (p < pieces) copy_piece(first, block, p, shared[p]);
    commit_copies();
  }
  for (int p = 0; p < pieces; ++p) {
    wait_for_copies_but<kPieces - 2>();
    __syncwarp();  // of all lanes; and the place of the next piece is free
    if (p + kPieces - 1 < pieces) copy_piece(first, block, p + kPieces - 1, shared[(p + kPieces - 1) % kPieces]);
    commit_copies();
    add_piece<T>(shared[p % kPieces], sum);
  }
}

// Any block.
template <class T>
__device__ inline void sum_elements(const Gradient<T>& in, int64_t b, double (&sum)[2]) {
  const int64_t begin = min(b * in.block, in.elements);
  const int64_t end = min(begin + in.block, in.elements);
#pragma unroll 4
  for (int64_t i = begin + threadIdx.x % kPairs * 2; i < end; i += kLanes) {
    add_square(to_float(in.g[i]), sum[0]);
    if (i + 1 < end) add_square(to_float(in.g[i + 1]), sum[1]);
  }
}

// Lane l and l + 8, then + 4, + 2, + 1.
__device__ inline double lane_tree(double (&sum)[2]) {
#pragma unroll
  for (int half = kPairs / 2; half > 0; half /= 2) {
    sum[0] += __shfl_down_sync(0xffffffffu, sum[0], half, kPairs);
    sum[1] += __shfl_down_sync(0xffffffffu, sum[1], half, kPairs);
  }
  return sum[0] + sum[1];
}

template <class T>
__global__ void __launch_bounds__(kThreads) sum_squares(Gradient<T> in, int64_t blocks, float* partials) {
  __shared__ alignas(16) Piece<T> shared[kWarps][kPieces];
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int64_t first = kBlocks * (int64_t{blockIdx.x} * kWarps + warp);
  if (first >= blocks) return;
  const int64_t b = first + lane / kPairs;
  double sum[2] = {0, 0};
  if (in.aligned && in.block % kPieceElements<T> == 0 && (first + kBlocks) * in.block <= in.elements) {
    sum_in_pieces<T>(in.g + first * in.block, in.block, shared[warp], sum);
  } else {
    sum_elements(in, b, sum);
  }
  __syncwarp();
  const double total = lane_tree(sum);
  if (lane % kPairs == 0 && b < blocks) partials[b] = __double2float_rn(total);
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
      const Gradient<T> in{call.in<T>(0), elements, block, aligned_for_vectors({call.in<T>(0)})};
      sum_squares<<<grid, kThreads, 0, call.stream>>>(in, blocks, call.out<float>(0));
      check_launch("sqnorm");
    };
  });
}

}  // namespace centavo
