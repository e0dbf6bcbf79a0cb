// Clusters: up to 8 blocks that run at the same time and read each other's shared memory. GPUs have them from 9.0 on;
// on others a kernel is launched with one block in place of a cluster, and nothing here may be called on the device.
//
// Source: NVIDIA, "PTX ISA", sections on barrier.cluster and mapa.
#pragma once

#include "ops/cuda/device.cuh"

namespace centavo {

constexpr int kMostClusterBlocks = 8;  // that every such GPU can place

// All threads of the cluster arrive and wait in turn. What a block wrote to its shared memory before it arrived may be
// read once the others have waited; it lasts until its own block ends.
__device__ inline void cluster_arrive() {
#if __CUDA_ARCH__ >= 900
  asm volatile("barrier.cluster.arrive.release;" ::: "memory");
#endif
}

__device__ inline void cluster_wait() {
#if __CUDA_ARCH__ >= 900
  asm volatile("barrier.cluster.wait.acquire;" ::: "memory");
#endif
}

// This block's number in its cluster.
__device__ inline int cluster_block() {
  uint32_t block = 0;
#if __CUDA_ARCH__ >= 900
  asm volatile("mov.u32 %0, %%cluster_ctarank;" : "=r"(block));
#endif
  return static_cast<int>(block);
}

// What `local` is in the shared memory of another block of the cluster.
__device__ inline float of_block(const float* local, int block) {
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

// Was `kernel` compiled for a GPU with clusters, and is this one?
template <class... Args>
bool has_clusters(void (*kernel)(Args...)) {
  cudaFuncAttributes attributes;
  cuda_check(cudaFuncGetAttributes(&attributes, kernel), "asking for a kernel");
  return attributes.ptxVersion >= 90 && attributes.binaryVersion >= 90;
}

struct ClusterGrid {
  unsigned clusters = 0;
  int blocks = 1;  // of a cluster; 1: without clusters
  int threads = 0;
  int shared_bytes = 0;  // beside what the kernel declares
};

// Block b of cluster c has blockIdx.x c * blocks + b.
template <class... Args>
void launch_clusters(const char* name, void (*kernel)(Args...), const ClusterGrid& grid, CUstream_st* stream,
                     const Args&... args) {
  cudaLaunchAttribute attribute = {};
  attribute.id = cudaLaunchAttributeClusterDimension;
  attribute.val.clusterDim.x = static_cast<unsigned>(grid.blocks);
  attribute.val.clusterDim.y = 1;
  attribute.val.clusterDim.z = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = dim3(grid.clusters * static_cast<unsigned>(grid.blocks));
  config.blockDim = dim3(static_cast<unsigned>(grid.threads));
  config.dynamicSmemBytes = static_cast<size_t>(grid.shared_bytes);
  config.stream = stream;
  config.attrs = &attribute;
  config.numAttrs = grid.blocks > 1 ? 1 : 0;
  cuda_check(cudaLaunchKernelEx(&config, kernel, args...), name);
}

}  // namespace centavo
