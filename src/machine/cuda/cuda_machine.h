// The CUDA machine: runs a placed program on one GPU at no cost to the host.
//
// At construction every kernel is prepared, one arena per home is allocated (device memory; pinned host memory) and
// every operand gets its address. Each lane is a stream, each edge an event. The first step is launched op by op; then
// each section is captured once as a CUDA graph, and a step is a few graph launches. Nothing allocates and nothing
// synchronises inside a step: `step` returns when all is enqueued, `read` waits for what it reads.
//
// `timed_step` runs the same graphs with an event behind each op; what the events take is taken off its times. The
// first step has no graphs: it is timed as with an observer.
//
// With an observer, or in debug mode, ops are launched one by one and waited for, so that an error names its op.
#pragma once

#include <array>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "machine/cuda/gpu.h"
#include "machine/cuda/handles.h"
#include "machine/cuda/pinned_staging.h"
#include "machine/cuda/rings.h"
#include "machine/machine.h"
#include "machine/non_finite.h"
#include "ops/cuda/libraries.h"
#include "program/op_table.h"

namespace centavo {

class CudaMachine : public Machine {
 public:
  struct Options {
    int gpu = 0;
    bool deterministic = false;
    bool debug = false;             // arenas start as NaN; ops run one by one
    CudaMachine* lender = nullptr;  // owns the buffers this program borrows; must outlive this machine
    // Where the fastest algorithms of this GPU are remembered; empty: nowhere.
    std::string tuning_directory = {};
  };

  // The program must be verified and placed for a GPU of this architecture. Throws DeviceError, also when others hold
  // the memory it needs, and OutOfMemory when an arena cannot be had.
  CudaMachine(Program program, const OpTable& ops, const Options& options);
  ~CudaMachine() override;

  const Program& program() const override { return program_; }
  void step(const OpObserver& observer = {}) override;
  std::vector<Span> timed_step() override;
  void prepare_timed_step() override;
  void write(const std::string& buffer, std::span<const std::byte> bytes, int64_t slot = 0) override;
  void read(const std::string& buffer, std::span<std::byte> bytes, int64_t slot = 0) const override;
  void write_elements(const std::string& buffer, int64_t first, std::span<const std::byte> bytes) override;
  void read_elements(const std::string& buffer, int64_t first, std::span<std::byte> bytes) const override;
  void run_once(Program program, const OpTable& ops) override;

  // Where a buffer's slot lies on the device.
  std::byte* memory(const std::string& buffer, int64_t slot = 0) const;
  // Of a buffer of f32 or bf16 on the device that is no ring.
  NonFiniteElements non_finite(const Buffer& buffer) const;
  // Waits until all that was enqueued is done. Throws DeviceError.
  void wait() const;

  const Gpu& gpu() const { return gpu_; }
  // What its kernels were prepared for.
  CudaTraits traits() const;

 private:
  static constexpr size_t kLanes = 4;
  struct Ring;
  struct Operand;
  struct Prepared;
  struct Track;
  using OpMark = std::function<void(const Op& op)>;  // called when the op has been enqueued

  // A section's graph with an event in front of its first op and one behind each op.
  struct TimedSection {
    CudaGraph graph;  // owns the nodes
    CudaGraphExec executable;
    std::vector<CUgraphNode_st*> records;  // in the order of the events
  };

  std::byte* root_memory(BufferId root) const;
  Operand bind(BufferId id, Lane lane);
  std::vector<Prepared> prepare(const Section& section, const OpTable& ops);
  void bind_operands();
  void allocate();
  int64_t device_bytes() const;  // of its arena and its lenders'
  [[noreturn]] void refuse_allocation(Home home, int64_t bytes) const;
  void run(const Prepared& prepared, Track& track);
  void load(size_t ring, Lane lane, Track& track);
  void enqueue(const std::vector<Prepared>& section, const OpMark& mark = {});
  CudaGraph capture(const std::function<void()>& work);
  static CudaGraphExec instantiated(const CudaGraph& graph);
  TimedSection timed_section(const std::string& name);
  void make_timed_sections();
  void launch_observed(const Call& call, int64_t& index, const OpObserver& observer);
  CUstream_st* stream(Lane lane) const { return streams_[static_cast<size_t>(lane)].get(); }

  Program program_;
  Options options_;
  Gpu gpu_;
  std::unique_ptr<CudaLibraries> libraries_;
  std::unique_ptr<PinnedStaging> staging_;
  std::map<std::string, BufferId> names_;
  std::map<Home, CudaMemory> arenas_;
  std::vector<Ring> rings_;
  std::map<BufferId, size_t> ring_of_;  // by root
  std::map<std::string, std::vector<Prepared>> sections_;
  std::map<std::string, CudaGraphExec> graphs_;
  std::map<std::string, TimedSection> timed_sections_;  // empty before the first timed step
  std::vector<CudaEvent> timing_events_;                // as many as a step records
  std::vector<double> delays_;                          // by the events so far, at the end of each op of a step
  std::array<CudaStream, kLanes> streams_;
  CudaStream upload_;
  std::array<CudaEvent, kLanes> joins_;
  CudaEvent fork_;
  bool launched_ = false;  // a step has run, so every kernel is loaded
};

}  // namespace centavo
