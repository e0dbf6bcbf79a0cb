#include "machine/cuda/handles.h"

#include "ops/cuda/check.cuh"

namespace centavo {
namespace {

CudaEvent event_with(unsigned flags) {
  cudaEvent_t event = nullptr;
  cuda_check(cudaEventCreateWithFlags(&event, flags), "making an event");
  return CudaEvent(event);
}

}  // namespace

void CudaDestroy::operator()(CUevent_st* event) const { cudaEventDestroy(event); }
void CudaDestroy::operator()(CUgraph_st* graph) const { cudaGraphDestroy(graph); }
void CudaDestroy::operator()(CUgraphExec_st* graph) const { cudaGraphExecDestroy(graph); }
void CudaDestroy::operator()(CUstream_st* stream) const { cudaStreamDestroy(stream); }

void CudaFree::operator()(std::byte* memory) const { home == Home::host ? cudaFreeHost(memory) : cudaFree(memory); }

CudaStream new_stream() {
  cudaStream_t stream = nullptr;
  cuda_check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "making a stream");
  return CudaStream(stream);
}

CudaEvent new_event() { return event_with(cudaEventDisableTiming); }

CudaEvent new_timing_event() { return event_with(cudaEventDefault); }

}  // namespace centavo
