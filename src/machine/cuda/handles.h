// Owners of what CUDA hands out: what ends early, by an exception too, gives it back.
#pragma once

#include <cstddef>
#include <memory>

#include "program/program.h"

struct CUevent_st;
struct CUgraph_st;
struct CUgraphExec_st;
struct CUgraphNode_st;
struct CUstream_st;

namespace centavo {

struct CudaDestroy {
  void operator()(CUevent_st* event) const;
  void operator()(CUgraph_st* graph) const;
  void operator()(CUgraphExec_st* graph) const;
  void operator()(CUstream_st* stream) const;
};
using CudaEvent = std::unique_ptr<CUevent_st, CudaDestroy>;
using CudaGraph = std::unique_ptr<CUgraph_st, CudaDestroy>;
using CudaGraphExec = std::unique_ptr<CUgraphExec_st, CudaDestroy>;
using CudaStream = std::unique_ptr<CUstream_st, CudaDestroy>;

struct CudaFree {
  Home home = Home::device;
  void operator()(std::byte* memory) const;
};
// Memory of the device, or pinned memory of the host.
using CudaMemory = std::unique_ptr<std::byte, CudaFree>;

// Waits for no other stream. Throws DeviceError, as the next two.
CudaStream new_stream();
// Orders streams.
CudaEvent new_event();
// Tells the time besides.
CudaEvent new_timing_event();

}  // namespace centavo
