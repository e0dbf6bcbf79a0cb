// A step as a timeline that chrome://tracing and ui.perfetto.dev show: predicted or measured, the form is the same.
//
//   {"displayTimeUnit": "ms", "traceEvents": [
//     {"ph": "M", "name": "process_name", "pid": RANK, "args": {"name": …}},
//     {"ph": "M", "name": "thread_name", "pid": RANK, "tid": LANE, "args": {"name": "compute"}},
//     {"ph": "X", "name": KIND, "cat": STAGE, "pid": RANK, "tid": LANE, "ts": µs, "dur": µs,
//      "args": {"op": 12, "layer": 3, "section": "first", "call": 0, "bytes": 4096, "flops": 1e6}}, …]}
//
// Times are whole nanoseconds written in microseconds, so that spans which touch do not overlap. `bytes` and `flops`
// are those of the op's cost rule; `layer` is left out of ops outside the layers, threads of lanes without ops are left
// out.
//
// Source: Google, "Trace Event Format".
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "machine/virtual/virtual_machine.h"
#include "program/op_table.h"

namespace centavo {

struct TraceLabel {
  int64_t rank = 0;
  std::string name;  // of the process in the timeline, such as "rank 0, predicted"
};

std::string trace_json(const std::vector<Span>& spans, const Program& program, const OpTable& ops,
                       const TraceLabel& label);

// The same as a file, replaced atomically; errors are those of write_file_atomic.
void write_trace(const std::string& file, const std::vector<Span>& spans, const Program& program, const OpTable& ops,
                 const TraceLabel& label);

}  // namespace centavo
