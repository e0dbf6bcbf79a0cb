// A step with the times of its ops: graphs as those of every step, with an event behind each op. So the GPU never waits
// for the host, and its clock and its memory's are those of a run.
//
// A section has one such graph, made once: before each launch its records get the events of that call.
//
// An event takes about a microsecond, which short ops would be charged with. A step in which every op takes as long as
// an event says by how much each op is late.

#include <algorithm>

#include "machine/cuda/cuda_machine.h"
#include "machine/cuda/event_cost.h"
#include "machine/virtual/virtual_machine.h"
#include "ops/cuda/check.cuh"

namespace centavo {
namespace {

double seconds_between(const CudaEvent& from, const CudaEvent& to) {
  float milliseconds = 0;
  cuda_check(cudaEventElapsedTime(&milliseconds, from.get(), to.get()), "timing an op");
  return milliseconds * 1e-3;
}

// The nodes of a graph that record these events, in the order of the events.
std::vector<CUgraphNode_st*> records_of(const CudaGraph& graph, std::span<const CudaEvent> events) {
  size_t count = 0;
  cuda_check(cudaGraphGetNodes(graph.get(), nullptr, &count), "looking at a graph");
  std::vector<cudaGraphNode_t> nodes(count);
  cuda_check(cudaGraphGetNodes(graph.get(), nodes.data(), &count), "looking at a graph");
  std::vector<CUgraphNode_st*> records(events.size());
  for (const cudaGraphNode_t node : nodes) {
    cudaGraphNodeType type = cudaGraphNodeTypeEmpty;
    cuda_check(cudaGraphNodeGetType(node, &type), "looking at a graph");
    if (type != cudaGraphNodeTypeEventRecord) continue;
    cudaEvent_t event = nullptr;
    cuda_check(cudaGraphEventRecordNodeGetEvent(node, &event), "looking at a graph");
    const auto at = std::ranges::find(events, event, &CudaEvent::get);
    CHECK(at != events.end(), "a graph records an event that times no op");
    records[static_cast<size_t>(at - events.begin())] = node;
  }
  CHECK(std::ranges::count(records, nullptr) == 0, "a graph lacks the event of an op");
  return records;
}

}  // namespace

CudaMachine::TimedSection CudaMachine::timed_section(const std::string& name) {
  auto next = timing_events_.begin();
  const auto record = [&](CUstream_st* on) {
    cuda_check(cudaEventRecordWithFlags((next++)->get(), on, cudaEventRecordExternal), "timing an op");
  };
  TimedSection section;
  section.graph = capture([&] {
    record(stream(Lane::compute));
    enqueue(sections_.at(name), [&](const Op& op) { record(stream(op.lane)); });
  });
  section.records = records_of(section.graph, {timing_events_.begin(), next});
  section.executable = instantiated(section.graph);
  cuda_check(cudaGraphUpload(section.executable.get(), stream(Lane::compute)), "uploading a section");
  return section;
}

void CudaMachine::make_timed_sections() {
  if (delays_.empty()) {
    const double seconds = event_seconds(stream(Lane::compute));
    const std::vector<Span> events = walk(program_, LaneModel::parallel, [&](const OpView&) { return seconds; });
    for (const Span& event : events) delays_.push_back(event.end);
  }
  size_t events = ops_in_step(program_);
  for (const Call& call : program_.step) events += static_cast<size_t>(call.times);
  while (timing_events_.size() < events) timing_events_.push_back(new_timing_event());
  for (const Call& call : program_.step) {
    if (!timed_sections_.contains(call.section)) timed_sections_[call.section] = timed_section(call.section);
  }
}

// Catches, to leave the machine as it was: without half of the graphs, and without an error that the next launch finds.
void CudaMachine::prepare_timed_step() {
  if (!launched_ || options_.debug) return;
  try {
    make_timed_sections();
  } catch (const DeviceError&) {
    timed_sections_.clear();
    timing_events_.clear();
    cudaGetLastError();
    throw;
  }
}

std::vector<Span> CudaMachine::timed_step() {
  if (!launched_ || options_.debug) return Machine::timed_step();
  prepare_timed_step();
  size_t next = 0;
  std::vector<size_t> ends;
  for (const Call& call : program_.step) {
    const TimedSection& section = timed_sections_.at(call.section);
    for (int64_t i = 0; i < call.times; ++i) {
      for (CUgraphNode_st* node : section.records) {
        if (node != section.records.front()) ends.push_back(next);
        cuda_check(cudaGraphExecEventRecordNodeSetEvent(section.executable.get(), node, timing_events_[next++].get()),
                   "timing a step");
      }
      cuda_check(cudaGraphLaunch(section.executable.get(), stream(Lane::compute)), "launching a section");
    }
  }
  wait();
  std::vector<double> seconds;
  for (size_t i = 0; i < ends.size(); ++i) {
    seconds.push_back(seconds_between(timing_events_.front(), timing_events_[ends[i]]) - delays_[i]);
  }
  return spans_from_ends(program_, LaneModel::parallel, seconds);
}

}  // namespace centavo
