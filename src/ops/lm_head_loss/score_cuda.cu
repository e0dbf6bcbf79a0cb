// A row of a large vocabulary (152,064 in bf16: 297 KiB) does not fit one multiprocessor, yet should be read once. So a
// cluster of up to 8 blocks takes a row: each block keeps its part in registers, at most 8 vectors of 16 bytes a
// thread, all loaded before the first is used; the blocks exchange a maximum and a sum through distributed shared
// memory. Bytes moved: the row once, and once more when its gradient is written. An online pass with a second one from
// L2 would read the row twice and hope that it stayed; it is what larger rows and GPUs without clusters get, one block
// a row. The cut into blocks depends on V and the element type alone.

#include <cfloat>

#include "ops/cuda/cluster.cuh"
#include "ops/lm_head_loss/score_cuda.h"

namespace centavo {
namespace {

constexpr int kThreads = 512;
constexpr int kPassThreads = 1024;
constexpr int kPassVectors = 4;  // in flight
constexpr int kMostVectors = 8;

template <class T>
struct Rows {
  T* logits;
  const int32_t* targets;
  double* losses;
  int64_t stride;
  int vocab;
  int blocks;             // of a row
  int vectors_per_block;  // of 16 bytes, the block's part of the row

  __device__ bool is_counted(int target) const { return target >= 0 && target < vocab; }
  __device__ int vectors() const { return (vocab + Vec<T>::size - 1) / Vec<T>::size; }
};

// e^x for x <= 0; NaN stays NaN.
__device__ float exponential(float x) {
  constexpr float kLog2E = 1.4426950408889634f;
  float result;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x * kLog2E));
  return result;
}

template <int kSize>
__device__ float block_max(float value, float* shared) {
  value = warp_max(value);
  __syncthreads();
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = value;
  __syncthreads();
  float most = shared[0];
#pragma unroll
  for (int warp = 1; warp < kSize / 32; ++warp) most = fmaxf(most, shared[warp]);
  return most;
}

// 16 bytes of a row as they are kept in registers: bf16 stay two to a word.
template <class T>
struct Piece {
  static constexpr int kSize = Vec<T>::size;
  static constexpr int kInWord = 4 / sizeof(T);
  static constexpr uint32_t kNothing = kInWord == 2 ? 0xff80ff80u : 0xff800000u;  // -inf: its exponential is 0
  uint32_t word[4];

  // Vector `index` of the row; what lies behind the row's end, or at or behind vector `end`, is nothing.
  __device__ static Piece load(const T* row, int index, int end, int vocab) {
    Piece piece = {{kNothing, kNothing, kNothing, kNothing}};
    if (index >= end) return piece;
    *reinterpret_cast<int4*>(piece.word) = *reinterpret_cast<const int4*>(row + index * kSize);
    const int left = vocab - index * kSize;
    if (left < kSize) {
#pragma unroll
      for (int w = 0; w < 4; ++w) {
        if (left <= w * kInWord) piece.word[w] = kNothing;
        if (kInWord == 2 && left == w * kInWord + 1) piece.word[w] = (piece.word[w] & 0xffffu) | 0xff800000u;
      }
    }
    return piece;
  }

  __device__ void store(T* row, int index) const {
    *reinterpret_cast<int4*>(row + index * kSize) = *reinterpret_cast<const int4*>(word);
  }

  __device__ float at(int i) const {
    if constexpr (kInWord == 1) return __uint_as_float(word[i]);
    return __uint_as_float(i % 2 == 0 ? word[i / 2] << 16 : word[i / 2] & 0xffff0000u);
  }

  // NaN is passed over: it comes back through the sum.
  __device__ float maximum() const {
    if constexpr (kInWord == 1) {
      return fmaxf(fmaxf(at(0), at(1)), fmaxf(at(2), at(3)));
    } else {
      const auto pair = [&](int w) { return *reinterpret_cast<const __nv_bfloat162*>(word + w); };
      const float2 most = __bfloat1622float2(__hmax2(__hmax2(pair(0), pair(1)), __hmax2(pair(2), pair(3))));
      return fmaxf(most.x, most.y);
    }
  }

  __device__ static Piece from_floats(const float (&values)[kSize]) {
    Piece piece;
#pragma unroll
    for (int w = 0; w < 4; ++w) {
      if constexpr (kInWord == 1) {
        piece.word[w] = __float_as_uint(values[w]);
      } else {
        const __nv_bfloat162 pair = __floats2bfloat162_rn(values[2 * w], values[2 * w + 1]);
        piece.word[w] = *reinterpret_cast<const uint32_t*>(&pair);
      }
    }
    return piece;
  }
};

template <class T>
__device__ float sum_of_exponentials(const Piece<T>& piece, float most) {
  float sum = 0;
#pragma unroll
  for (int i = 0; i < Piece<T>::kSize; ++i) sum += exponential(piece.at(i) - most);
  return sum;
}

struct Softmax {
  float most = -FLT_MAX;  // finite, so that -inf minus it is -inf
  float sum = 0;
};

// softmax - onehot(target)
template <class T>
__device__ Piece<T> gradient_of(const Piece<T>& piece, int index, int target, const Softmax& softmax, float inverse) {
  constexpr int kSize = Piece<T>::kSize;
  float p[kSize];
#pragma unroll
  for (int i = 0; i < kSize; ++i) p[i] = exponential(piece.at(i) - softmax.most) * inverse;
  const int of_target = target - index * kSize;
  if (of_target >= 0 && of_target < kSize) {
#pragma unroll
    for (int i = 0; i < kSize; ++i) p[i] -= i == of_target ? 1.0f : 0.0f;
  }
  return Piece<T>::from_floats(p);
}

__device__ double loss_of(const Softmax& softmax, float correct) {
  return log(static_cast<double>(softmax.sum)) - (static_cast<double>(correct) - static_cast<double>(softmax.most));
}

// --- a cluster of blocks

// The blocks' maxima and sums together, in order of blocks. The caller waits for the cluster before it ends: until then
// others read its `shared`.
__device__ Softmax over_cluster(const Softmax& own, int blocks, float* shared) {
  if (threadIdx.x == 0) {
    shared[0] = own.most;
    shared[1] = own.sum;
  }
  cluster_arrive();
  cluster_wait();
  Softmax whole;
  for (int b = 0; b < blocks; ++b) whole.most = fmaxf(whole.most, of_block(shared, b));
  for (int b = 0; b < blocks; ++b) {
    whole.sum += of_block(shared + 1, b) * exponential(of_block(shared, b) - whole.most);
  }
  cluster_arrive();
  return whole;
}

template <class T, int kVectors, bool kDifferentiates>
__global__ void __launch_bounds__(kThreads, 2) score_in_registers(const Rows<T> rows) {
  __shared__ float shared[kThreads / 32];
  __shared__ float exchanged[2];
  const int block = static_cast<int>(blockIdx.x) % rows.blocks;
  const int64_t row = blockIdx.x / rows.blocks;
  const int begin = block * rows.vectors_per_block + static_cast<int>(threadIdx.x);
  const int end = min((block + 1) * rows.vectors_per_block, rows.vectors());
  T* logits = rows.logits + row * rows.stride;
  const int target = rows.targets[row];
  const bool tells = block == 0 && threadIdx.x == 0;

  if (!rows.is_counted(target)) {
    if (tells) rows.losses[row] = 0;
    if constexpr (kDifferentiates) {
      for (int i = begin; i < end; i += kThreads) *reinterpret_cast<int4*>(logits + i * Vec<T>::size) = int4{};
    }
    return;
  }
  const float correct = tells ? to_float(logits[target]) : 0.0f;  // before another block writes there

  Piece<T> v[kVectors];
#pragma unroll
  for (int i = 0; i < kVectors; ++i) v[i] = Piece<T>::load(logits, begin + i * kThreads, end, rows.vocab);
  Softmax softmax;
#pragma unroll
  for (int i = 0; i < kVectors; ++i) softmax.most = fmaxf(softmax.most, v[i].maximum());
  softmax.most = block_max<kThreads>(softmax.most, shared);
#pragma unroll
  for (int i = 0; i < kVectors; ++i) softmax.sum += sum_of_exponentials(v[i], softmax.most);
  softmax.sum = block_sum<kThreads>(softmax.sum, shared);
  if (rows.blocks > 1) softmax = over_cluster(softmax, rows.blocks, exchanged);

  if (tells) rows.losses[row] = loss_of(softmax, correct);
  if constexpr (kDifferentiates) {
    const float inverse = 1.0f / softmax.sum;
#pragma unroll
    for (int i = 0; i < kVectors; ++i) {
      const int index = begin + i * kThreads;
      if (index < end) {
        gradient_of(v[i], index, target, softmax, inverse).store(logits, index);
      }
    }
  }
  if (rows.blocks > 1) cluster_wait();
}

// --- a block that reads its row twice

template <class T, bool kDifferentiates>
__global__ void __launch_bounds__(kPassThreads) score_in_passes(const Rows<T> rows) {
  __shared__ float shared[kPassThreads / 32];
  const int64_t row = blockIdx.x;
  const int begin = static_cast<int>(threadIdx.x);
  const int end = rows.vectors();
  constexpr int kStep = kPassVectors * kPassThreads;
  T* logits = rows.logits + row * rows.stride;
  const int target = rows.targets[row];

  if (!rows.is_counted(target)) {
    if (threadIdx.x == 0) rows.losses[row] = 0;
    if constexpr (kDifferentiates) {
      for (int i = begin; i < end; i += kPassThreads) *reinterpret_cast<int4*>(logits + i * Vec<T>::size) = int4{};
    }
    return;
  }
  const float correct = threadIdx.x == 0 ? to_float(logits[target]) : 0.0f;

  Softmax softmax;
  for (int first = begin; first < end; first += kStep) {
    Piece<T> v[kPassVectors];
#pragma unroll
    for (int i = 0; i < kPassVectors; ++i) v[i] = Piece<T>::load(logits, first + i * kPassThreads, end, rows.vocab);
    float most = softmax.most;
#pragma unroll
    for (int i = 0; i < kPassVectors; ++i) most = fmaxf(most, v[i].maximum());
    softmax.sum *= exponential(softmax.most - most);
#pragma unroll
    for (int i = 0; i < kPassVectors; ++i) softmax.sum += sum_of_exponentials(v[i], most);
    softmax.most = most;
  }
  const float most = block_max<kPassThreads>(softmax.most, shared);
  softmax.sum = block_sum<kPassThreads>(softmax.sum * exponential(softmax.most - most), shared);
  softmax.most = most;

  if (threadIdx.x == 0) rows.losses[row] = loss_of(softmax, correct);
  if constexpr (kDifferentiates) {
    const float inverse = 1.0f / softmax.sum;
#pragma unroll kPassVectors
    for (int index = begin; index < end; index += kPassThreads) {
      const Piece<T> v = Piece<T>::load(logits, index, end, rows.vocab);
      gradient_of(v, index, target, softmax, inverse).store(logits, index);
    }
  }
}

// --- host

// Calls f with the smallest compiled number of vectors that holds `vectors`.
template <class F>
void visit_vectors(int vectors, F&& f) {
  if (vectors <= 1) return f(std::integral_constant<int, 1>{});
  if (vectors <= 2) return f(std::integral_constant<int, 2>{});
  if (vectors <= 4) return f(std::integral_constant<int, 4>{});
  if (vectors <= 6) return f(std::integral_constant<int, 6>{});
  f(std::integral_constant<int, kMostVectors>{});
}

template <class T, bool kDifferentiates>
void launch(const Rows<T>& rows, int64_t count, int vectors, CUstream_st* stream) {
  if (rows.blocks == 0) {
    score_in_passes<T, kDifferentiates><<<static_cast<unsigned>(count), kPassThreads, 0, stream>>>(rows);
    return check_launch("scoring logits");
  }
  visit_vectors(vectors, [&](auto size) {
    launch_clusters("scoring logits", score_in_registers<T, decltype(size)::value, kDifferentiates>,
                    {static_cast<unsigned>(count), rows.blocks, kThreads}, stream, rows);
  });
}

}  // namespace

RowScorer::RowScorer(DType dtype, int64_t vocab, bool differentiates)
    : dtype_(dtype), vocab_(vocab), differentiates_(differentiates) {
  constexpr int64_t kBlockVectors = int64_t{kThreads} * kMostVectors;
  const int64_t vectors = ceil_div(vocab, 16 / size_of(dtype));
  const int most = has_clusters(score_in_registers<float, 1, false>) ? kMostClusterBlocks : 1;
  for (int blocks = 1; blocks <= most; blocks *= 2) {
    if (vectors > blocks * kBlockVectors) continue;
    blocks_ = blocks;
    vectors_ = static_cast<int>(ceil_div(ceil_div(vectors, blocks), kThreads));
    return;
  }
}

void RowScorer::run(void* logits, const int32_t* targets, int64_t rows, double* losses, CUstream_st* stream) const {
  visit_cuda(dtype_, [&](auto tag) {
    using T = typename decltype(tag)::type;
    const int64_t vectors = ceil_div(vocab_, Vec<T>::size);
    const Rows<T> work = {.logits = static_cast<T*>(logits),
                          .targets = targets,
                          .losses = losses,
                          .stride = logits_stride(vocab_),
                          .vocab = static_cast<int>(vocab_),
                          .blocks = blocks_,
                          .vectors_per_block = blocks_ == 0 ? 0 : static_cast<int>(ceil_div(vectors, blocks_))};
    if (differentiates_) {
      launch<T, true>(work, rows, vectors_, stream);
    } else {
      launch<T, false>(work, rows, vectors_, stream);
    }
  });
}

}  // namespace centavo
