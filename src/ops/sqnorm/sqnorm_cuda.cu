// A warp sums two norm blocks at a time, one of the header's 16 lanes a thread, so that the order of the sums and with
// it every bit is the CPU's. 16-byte loads do not lie in that order: a warp brings 2 KiB of each block to shared memory
// and reads them back lane by lane. An element costs a conversion and a multiply-add of f64, at most half of what a GPU
// with fast f64 (8.0, 9.0) does while memory delivers bf16. Reads g once; the partials are 1/4096 of it.

#include "ops/cuda/vectors.cuh"
#include "ops/sqnorm/sqnorm.h"

namespace centavo {
namespace {

constexpr int kLanes = 16;  // of a norm block; a warp has two blocks
constexpr int kWarps = 8;
constexpr int kThreads = 32 * kWarps;
constexpr int kVectors = 4;  // 16 bytes a thread and block, on their way at once
constexpr int kStageBytes = 32 * 16 * kVectors;
constexpr int kPadding = 64;  // the two blocks of a warp lie half the banks apart

template <class T>
struct Gradient {
  const T* g;
  int64_t elements, block;
  bool aligned;
};

// Elements [at, at + kSize), zeros from `end` on.
template <class T>
__device__ inline Vec<T> load_until(const Gradient<T>& in, int64_t at, int64_t end) {
  constexpr int kSize = Vec<T>::size;
  if (in.aligned && at + kSize <= end) return Vec<T>::load(in.g + at);
  Vec<T> v;
#pragma unroll
  for (int j = 0; j < kSize; ++j) v.at[j] = at + j < end ? in.g[at + j] : from_float<T>(0.0f);
  return v;
}

template <class T>
struct Stage {
  static constexpr int kElements = kStageBytes / static_cast<int>(sizeof(T));
  Vec<T> vectors[2][kVectors];

  // kElements of each of two blocks, from `first` of the block on; `ends` of the blocks' elements.
  __device__ void load(const Gradient<T>& in, const int64_t* begins, const int64_t* ends, int64_t first, int lane) {
#pragma unroll
    for (int b = 0; b < 2; ++b) {
#pragma unroll
      for (int i = 0; i < kVectors; ++i) {
        vectors[b][i] = load_until(in, begins[b] + first + (i * 32 + lane) * Vec<T>::size, ends[b]);
      }
    }
  }

  __device__ void store(T (*shared)[kElements + kPadding / sizeof(T)], int lane) const {
#pragma unroll
    for (int b = 0; b < 2; ++b) {
#pragma unroll
      for (int i = 0; i < kVectors; ++i) vectors[b][i].store(shared[b] + (i * 32 + lane) * Vec<T>::size);
    }
  }
};

// Lane l and l + 8, then + 4, + 2, + 1.
__device__ inline double lane_tree(double sum) {
#pragma unroll
  for (int half = kLanes / 2; half > 0; half /= 2) sum += __shfl_down_sync(0xffffffffu, sum, half, kLanes);
  return sum;
}

template <class T>
__global__ void __launch_bounds__(kThreads, 2) sum_squares(Gradient<T> in, int64_t blocks, float* partials) {
  constexpr int kElements = Stage<T>::kElements;
  __shared__ alignas(16) T shared[kWarps][2][kElements + kPadding / sizeof(T)];
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  const int64_t first_block = 2 * (int64_t{blockIdx.x} * kWarps + warp);
  if (first_block >= blocks) return;
  int64_t begins[2], ends[2];
  for (int b = 0; b < 2; ++b) {
    begins[b] = min((first_block + b) * in.block, in.elements);
    ends[b] = min(begins[b] + in.block, in.elements);
  }
  const T* mine = shared[warp][lane / kLanes] + lane % kLanes;
  double sum = 0;
  for (int64_t first = 0; first < in.block; first += kElements) {
    Stage<T> stage;
    stage.load(in, begins, ends, first, lane);
    __syncwarp();
    stage.store(shared[warp], lane);
    __syncwarp();
#pragma unroll 16
    for (int i = 0; i < kElements; i += kLanes) {
      const double x = to_float(mine[i]);
      sum = fma(x, x, sum);
    }
  }
  sum = lane_tree(sum);
  const int64_t b = first_block + lane / kLanes;
  if (lane % kLanes == 0 && b < blocks) partials[b] = __double2float_rn(sum);
}

}  // namespace

CudaKernel sqnorm_cuda(const OpView& v, const CudaTraits&) {
  const int64_t elements = v.input(0).elements();
  const int64_t block = v.whole("block");
  const int64_t blocks = norm_blocks(elements, block);
  const unsigned grid = blocks_for(blocks, 2 * kWarps);
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
