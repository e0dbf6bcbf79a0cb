#include "machine/cuda/event_cost.h"

#include <algorithm>
#include <functional>
#include <limits>

#include "machine/cuda/handles.h"
#include "ops/cuda/check.cuh"

namespace centavo {
namespace {

constexpr int kKernels = 256;
constexpr int kLaunches = 8;  // the quickest counts

__global__ void do_nothing() {}

CudaGraphExec graph_of_kernels(CUstream_st* stream, const std::function<void()>& behind_each) {
  cuda_check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal), "capturing empty kernels");
  for (int i = 0; i < kKernels; ++i) {
    do_nothing<<<1, 32, 0, stream>>>();
    check_launch("launching an empty kernel");
    behind_each();
  }
  cudaGraph_t graph = nullptr;
  cuda_check(cudaStreamEndCapture(stream, &graph), "capturing empty kernels");
  const CudaGraph owner(graph);
  cudaGraphExec_t executable = nullptr;
  cuda_check(cudaGraphInstantiate(&executable, graph, 0), "making a graph of empty kernels");
  return CudaGraphExec(executable);
}

double seconds_of(const CudaGraphExec& graph, CUstream_st* stream) {
  const CudaEvent start = new_timing_event();
  const CudaEvent end = new_timing_event();
  float best = std::numeric_limits<float>::max();
  for (int i = 0; i < kLaunches; ++i) {
    cuda_check(cudaEventRecord(start.get(), stream), "timing empty kernels");
    cuda_check(cudaGraphLaunch(graph.get(), stream), "timing empty kernels");
    cuda_check(cudaEventRecord(end.get(), stream), "timing empty kernels");
    cuda_check(cudaStreamSynchronize(stream), "timing empty kernels");
    float ms = 0;
    cuda_check(cudaEventElapsedTime(&ms, start.get(), end.get()), "timing empty kernels");
    best = std::min(best, ms);
  }
  return best * 1e-3;
}

}  // namespace

double event_seconds(CUstream_st* stream) {
  const CudaEvent event = new_timing_event();
  const CudaGraphExec plain = graph_of_kernels(stream, [] {});
  const CudaGraphExec timed = graph_of_kernels(stream, [&] {
    cuda_check(cudaEventRecordWithFlags(event.get(), stream, cudaEventRecordExternal), "timing empty kernels");
  });
  return std::max(0.0, (seconds_of(timed, stream) - seconds_of(plain, stream)) / kKernels);
}

}  // namespace centavo
