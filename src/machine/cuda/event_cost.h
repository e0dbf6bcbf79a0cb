// What it costs to time ops by events in a graph.
#pragma once

struct CUstream_st;

namespace centavo {

// Seconds by which an event behind a kernel delays the next: measured on a graph of short kernels with an event behind
// each, against the same graph without. Waits for the stream. Throws DeviceError.
double event_seconds(CUstream_st* stream);

}  // namespace centavo
