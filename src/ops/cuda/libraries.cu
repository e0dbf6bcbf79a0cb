// The scratch is filled by one thread for every eight numbers: 16 bytes stored, nothing read.

#include "ops/cuda/libraries.h"

#include "ops/cuda/check_cublas.h"
#include "ops/cuda/cudnn_library.h"
#include "ops/cuda/device.cuh"

#ifdef CENTAVO_CUDNN
#include <cudnn.h>
#endif

namespace centavo {
namespace {

constexpr int kThreads = 256;

// A well mixed function of its argument (the finaliser of splitmix64: Steele, Lea, Flood, "Fast splittable
// pseudorandom number generators", 2014).
__device__ uint64_t mixed(uint64_t x) {
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

// Four uniform numbers, their mean taken away, scaled to variance 1: close to normal.
__device__ float nearly_normal(uint64_t bits) {
  float sum = -2.0f;
#pragma unroll
  for (int i = 0; i < 4; ++i) sum += static_cast<float>((bits >> (16 * i)) & 0xffffu) * (1.0f / 65536.0f);
  return sum * 1.7320508f;
}

// A power-limited GPU multiplies zeros faster than numbers, so candidates are timed on numbers.
__global__ void fill_random(__nv_bfloat16* to, int64_t vectors) {
  const int64_t vector = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (vector >= vectors) return;
  Vec<__nv_bfloat16> v;
#pragma unroll
  for (int i = 0; i < 8; ++i)
    v.at[i] = __float2bfloat16_rn(nearly_normal(mixed(static_cast<uint64_t>(8 * vector + i))));
  v.store(to + 8 * vector);
}

}  // namespace

std::string TuningTable::find(const std::string& key) const {
  const auto entry = entries_.find(key);
  return entry == entries_.end() ? std::string() : entry->second;
}

void TuningTable::set(const std::string& key, const std::string& choice) {
  std::string& entry = entries_[key];
  if (entry == choice) return;
  entry = choice;
  changed_ = true;
}

CudaLibraries::CudaLibraries() {
  cuda_check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "making a stream");
}

CudaLibraries::~CudaLibraries() {
  plans.clear();  // before what they were built with
  if (scratch_ != nullptr) cudaFree(scratch_);
#ifdef CENTAVO_CUDNN
  if (cudnn_ != nullptr) cudnnDestroy(cudnn_);
#endif
  if (cublas_lt_ != nullptr) cublasLtDestroy(cublas_lt_);
  cudaStreamDestroy(stream_);
}

cublasLtContext* CudaLibraries::cublas_lt() {
  if (cublas_lt_ == nullptr) cublas_check(cublasLtCreate(&cublas_lt_), "starting cuBLASLt");
  return cublas_lt_;
}

cudnnContext* CudaLibraries::cudnn() {
#ifdef CENTAVO_CUDNN
  if (cudnn_ == nullptr && cudnn_library().handle != nullptr) {
    const cudnnStatus_t status = cudnnCreate(&cudnn_);
    if (status != CUDNN_STATUS_SUCCESS) {
      throw DeviceError(fmt::format("starting cuDNN: {}", cudnnGetErrorString(status)));
    }
  }
#endif
  return cudnn_;
}

void* CudaLibraries::scratch(int64_t bytes) {
  if (bytes > scratch_bytes_) {
    release_scratch();
    cuda_check(cudaMalloc(&scratch_, static_cast<size_t>(bytes)), "allocating memory to time candidates in");
    scratch_bytes_ = bytes;
  }
  const int64_t vectors = bytes / 16;
  if (vectors > 0) {
    const auto blocks = static_cast<unsigned>(ceil_div(vectors, kThreads));
    fill_random<<<blocks, kThreads, 0, stream_>>>(static_cast<__nv_bfloat16*>(scratch_), vectors);
    check_launch("filling scratch");
  }
  return scratch_;
}

bool CudaLibraries::has_room_for_scratch(int64_t bytes) const {
  size_t free = 0;
  size_t all = 0;
  cuda_check(cudaMemGetInfo(&free, &all), "asking for the free memory");
  return bytes <= scratch_bytes_ + static_cast<int64_t>(free);
}

void CudaLibraries::release_scratch() {
  if (scratch_ != nullptr) cuda_check(cudaFree(scratch_), "freeing the memory candidates were timed in");
  scratch_ = nullptr;
  scratch_bytes_ = 0;
}

}  // namespace centavo
