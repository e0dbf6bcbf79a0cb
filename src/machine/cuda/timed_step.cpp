// A step with the times of its ops: graphs as those of every step, with an event behind each op. So the GPU never waits
// for the host, and its clock and its memory's are those of a run.

#include "machine/cuda/cuda_machine.h"
#include "machine/virtual/virtual_machine.h"
#include "ops/cuda/check.cuh"

namespace centavo {
namespace {

double seconds_between(const CudaEvent& from, const CudaEvent& to) {
  float milliseconds = 0;
  cuda_check(cudaEventElapsedTime(&milliseconds, from.get(), to.get()), "timing an op");
  return milliseconds * 1e-3;
}

}  // namespace

// An event belongs to one op of one call, so each call of a section is captured.
std::vector<Span> CudaMachine::timed_step() {
  if (!launched_ || options_.debug) return Machine::timed_step();
  const CudaEvent origin = new_timing_event();
  std::vector<CudaEvent> ends(ops_in_step(program_));
  for (CudaEvent& end : ends) end = new_timing_event();
  std::vector<CudaGraphExec> graphs;
  auto next = ends.begin();
  const OpMark mark = [&](const Op& op) {
    cuda_check(cudaEventRecordWithFlags((next++)->get(), stream(op.lane), cudaEventRecordExternal), "timing an op");
  };
  for (const Call& call : program_.step) {
    for (int64_t i = 0; i < call.times; ++i) {
      graphs.push_back(instantiated(capture([&] { enqueue(sections_.at(call.section), mark); })));
    }
  }
  cuda_check(cudaEventRecord(origin.get(), stream(Lane::compute)), "timing a step");
  for (const CudaGraphExec& graph : graphs) {
    cuda_check(cudaGraphLaunch(graph.get(), stream(Lane::compute)), "launching a section");
  }
  wait();
  std::vector<double> seconds;
  for (const CudaEvent& end : ends) seconds.push_back(seconds_between(origin, end));
  return spans_from_ends(program_, LaneModel::parallel, seconds);
}

}  // namespace centavo
