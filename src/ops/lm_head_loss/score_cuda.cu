// A row of a large vocabulary (152,064 in bf16: 297 KiB) does not fit one multiprocessor, yet should be read once. So a
// cluster of up to 8 blocks takes a row: each block keeps its part in registers, at most 8 vectors of 16 bytes a
// thread, all loaded before the first is used; the blocks exchange a maximum and a sum through distributed shared
// memory. Bytes moved: the row once, and once more when its gradient is written. An online pass with a second one from
// L2 would read the row twice and hope that it stayed; it is what larger rows and GPUs without clusters get, one block
// a row. The cut into blocks depends on V and the element type alone.

#include <cfloat>

#include "ops/cuda/device.cuh"
#include "ops/lm_head_loss/score_cuda.h"

namespace centavo {
namespace {

constexpr int kThreads = 512;
constexpr int kPassThreads = 1024;
constexpr int kPassVectors = 4;  // in flight
constexpr int kMostVectors = 8;
constexpr int kMostBlocks = 8;  // of a portable cluster

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

// Vector `index` of the row; what lies behind the row's end is -inf, whose exponential is 0.
template <class T>
__device__ Vec<T> load_vector(const T* row, int index, int end, int vocab) {
  constexpr int kSize = Vec<T>::size;
  Vec<T> v;
  if (index >= end) {
#pragma unroll
    for (int i = 0; i < kSize; ++i) v.at[i] = from_float<T>(-INFINITY);
    return v;
  }
  const int first = index * kSize;
  v = Vec<T>::load(row + first);
  if (first + kSize > vocab) {
#pragma unroll
    for (int i = 0; i < kSize; ++i) v.at[i] = first + i < vocab ? v.at[i] : from_float<T>(-INFINITY);
  }
  return v;
}

// NaN is passed over: it comes back through the sum.
template <class T>
__device__ float vector_max(const Vec<T>& v) {
  float most = to_float(v.at[0]);
#pragma unroll
  for (int i = 1; i < Vec<T>::size; ++i) most = fmaxf(most, to_float(v.at[i]));
  return most;
}

template <class T>
__device__ float sum_of_exponentials(const Vec<T>& v, float most) {
  float sum = 0;
#pragma unroll
  for (int i = 0; i < Vec<T>::size; ++i) sum += exponential(to_float(v.at[i]) - most);
  return sum;
}

struct Softmax {
  float most = -FLT_MAX;  // finite, so that -inf minus it is -inf
  float sum = 0;
};

// softmax - onehot(target)
template <class T>
__device__ Vec<T> gradient_of(const Vec<T>& v, int index, int target, const Softmax& softmax, float inverse) {
  constexpr int kSize = Vec<T>::size;
  float p[kSize];
#pragma unroll
  for (int i = 0; i < kSize; ++i) p[i] = exponential(to_float(v.at[i]) - softmax.most) * inverse;
  const int of_target = target - index * kSize;
  if (of_target >= 0 && of_target < kSize) {
#pragma unroll
    for (int i = 0; i < kSize; ++i) p[i] -= i == of_target ? 1.0f : 0.0f;
  }
  Vec<T> gradient;
#pragma unroll
  for (int i = 0; i < kSize; ++i) gradient.at[i] = from_float<T>(p[i]);
  return gradient;
}

__device__ double loss_of(const Softmax& softmax, float correct) {
  return log(static_cast<double>(softmax.sum)) - (static_cast<double>(correct) - static_cast<double>(softmax.most));
}

// --- a cluster of blocks

__device__ void cluster_arrive() {
#if __CUDA_ARCH__ >= 900
  asm volatile("barrier.cluster.arrive.release.aligned;" ::: "memory");
#endif
}

__device__ void cluster_wait() {
#if __CUDA_ARCH__ >= 900
  asm volatile("barrier.cluster.wait.acquire.aligned;" ::: "memory");
#endif
}

// What `local` is in the shared memory of another block of the cluster.
__device__ float of_block(const float* local, int block) {
  float value = 0;
#if __CUDA_ARCH__ >= 900
  uint32_t address;
  asm volatile("mapa.shared::cluster.u32 %0, %1, %2;"
               : "=r"(address)
               : "r"(static_cast<uint32_t>(__cvta_generic_to_shared(local))), "r"(block));
  asm volatile("ld.shared::cluster.f32 %0, [%1];" : "=f"(value) : "r"(address) : "memory");
#endif
  return value;
}

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

  Vec<T> v[kVectors];
#pragma unroll
  for (int i = 0; i < kVectors; ++i) v[i] = load_vector(logits, begin + i * kThreads, end, rows.vocab);
  Softmax softmax;
#pragma unroll
  for (int i = 0; i < kVectors; ++i) softmax.most = fmaxf(softmax.most, vector_max(v[i]));
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
        gradient_of(v[i], index, target, softmax, inverse).store(logits + index * Vec<T>::size);
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
    Vec<T> v[kPassVectors];
#pragma unroll
    for (int i = 0; i < kPassVectors; ++i) v[i] = load_vector(logits, first + i * kPassThreads, end, rows.vocab);
    float most = softmax.most;
#pragma unroll
    for (int i = 0; i < kPassVectors; ++i) most = fmaxf(most, vector_max(v[i]));
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
      const Vec<T> v = load_vector(logits, index, end, rows.vocab);
      gradient_of(v, index, target, softmax, inverse).store(logits + index * Vec<T>::size);
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

template <class T>
void launch_cluster(void (*kernel)(Rows<T>), const Rows<T>& rows, int64_t count, CUstream_st* stream) {
  cudaLaunchAttribute attribute = {};
  attribute.id = cudaLaunchAttributeClusterDimension;
  attribute.val.clusterDim.x = static_cast<unsigned>(rows.blocks);
  attribute.val.clusterDim.y = 1;
  attribute.val.clusterDim.z = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(static_cast<unsigned>(count * rows.blocks));
  config.blockDim = dim3(kThreads);
  config.stream = stream;
  config.attrs = &attribute;
  config.numAttrs = rows.blocks > 1 ? 1 : 0;
  cuda_check(cudaLaunchKernelEx(&config, kernel, rows), "scoring logits");
}

template <class T, bool kDifferentiates>
void launch(const Rows<T>& rows, int64_t count, int vectors, CUstream_st* stream) {
  if (rows.blocks == 0) {
    score_in_passes<T, kDifferentiates><<<static_cast<unsigned>(count), kPassThreads, 0, stream>>>(rows);
    return check_launch("scoring logits");
  }
  visit_vectors(vectors, [&](auto size) {
    launch_cluster(score_in_registers<T, decltype(size)::value, kDifferentiates>, rows, count, stream);
  });
}

// Was this file compiled for a GPU with clusters, and is it one?
bool has_clusters() {
  cudaFuncAttributes attributes;
  cuda_check(cudaFuncGetAttributes(&attributes, score_in_registers<float, 1, false>), "asking for a kernel");
  return attributes.ptxVersion >= 90 && attributes.binaryVersion >= 90;
}

}  // namespace

RowScorer::RowScorer(DType dtype, int64_t vocab, bool differentiates)
    : dtype_(dtype), vocab_(vocab), differentiates_(differentiates) {
  constexpr int64_t kBlockVectors = int64_t{kThreads} * kMostVectors;
  const int64_t vectors = ceil_div(vocab, 16 / size_of(dtype));
  const int most = has_clusters() ? kMostBlocks : 1;
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
