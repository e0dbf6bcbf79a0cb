#include "machine/cuda/cuda_machine.h"

#include <algorithm>

#include "machine/cuda/nvtx_range.h"
#include "machine/cuda/tuning_file.h"
#include "ops/cuda/check.cuh"

namespace centavo {
namespace {

// Ops of a section that an op of another lane waits for.
std::set<int32_t> awaited(const Section& section) {
  std::set<int32_t> ids;
  for (const Op& op : section.ops) ids.insert(op.after.begin(), op.after.end());
  return ids;
}

size_t index_of(Lane lane) { return static_cast<size_t>(lane); }

}  // namespace

// A ring, and for each lane the fixed place where its kernels see the slot.
struct CudaMachine::Ring {
  RingSlots slots;
  BufferId counter = kNone;  // its root
  std::array<CudaMemory, kLanes> staged;
};

struct CudaMachine::Operand {
  std::byte* address = nullptr;
  int64_t ring = -1;   // index in rings_; -1: ordinary memory
  bool whole = false;  // all of a ring's slot
};

struct CudaMachine::Prepared {
  const Op* op = nullptr;
  std::string range;  // its name in a profiler
  CudaKernel kernel;
  std::vector<Operand> inputs;
  std::vector<Operand> outputs;
  std::byte* workspace = nullptr;
  std::vector<BufferId> written;  // roots
  CudaEvent done;                 // where another lane waits for it
  std::vector<CUevent_st*> after;
};

// Which staged slots hold what the ring holds, while a section is enqueued.
struct CudaMachine::Track {
  std::vector<std::array<bool, kLanes>> fresh;
};

CudaMachine::CudaMachine(Program program, const OpTable& ops, const Options& options)
    : program_(std::move(program)), options_(options), gpu_(open_gpu(options.gpu)) {
  if (program_.ranks != 1) {
    user_error("the program is for {} ranks and the CUDA machine runs one; use ranks 1", program_.ranks);
  }
  for (size_t i = 0; i < program_.buffers.size(); ++i) names_[program_.buffers[i].name] = static_cast<BufferId>(i);
  for (CudaStream& s : streams_) s = new_stream();
  upload_ = new_stream();
  for (CudaEvent& event : joins_) event = new_event();
  fork_ = new_event();
  libraries_ = std::make_unique<CudaLibraries>();
  staging_ = std::make_unique<PinnedStaging>();
  const TuningFile file(options_.tuning_directory, gpu_);
  file.load(libraries_->tuning);
  // Before the arena is there: candidates are timed in memory that it will take.
  for (const Section& section : program_.sections) sections_[section.name] = prepare(section, ops);
  libraries_->release_scratch();
  if (libraries_->tuning.changed()) file.save(libraries_->tuning);
  allocate();
  bind_operands();
}

CudaMachine::~CudaMachine() { cudaDeviceSynchronize(); }

// --- before step 0

CudaTraits CudaMachine::traits() const {
  CudaTraits traits = gpu_.traits;
  traits.deterministic = options_.deterministic;
  traits.libraries = libraries_.get();
  return traits;
}

std::vector<CudaMachine::Prepared> CudaMachine::prepare(const Section& section, const OpTable& ops) {
  const CudaTraits traits = this->traits();
  const std::set<int32_t> waited_for = awaited(section);
  std::map<int32_t, CUevent_st*> events;
  std::vector<Prepared> list;
  for (const Op& op : section.ops) {
    const OpDef& def = ops.at(op.kind);
    if (def.cuda == nullptr) user_error("{} does not run on a GPU yet; use device = \"cpu\"", op.kind);
    const OpView view(program_, op);
    const int64_t needed = def.cuda_workspace_bytes == nullptr ? 0 : def.cuda_workspace_bytes(view, traits);
    if (needed > 0 && (op.workspace == kNone || program_.buffer(op.workspace).slot_bytes() < needed)) {
      user_error("%{} {} needs a workspace of {} bytes on this GPU; place the program for architecture {}", op.id,
                 op.kind, needed, traits.architecture);
    }
    Prepared prepared;
    prepared.op = &op;
    prepared.range =
        op.layer < 0 ? fmt::format("%{} {}", op.id, op.kind) : fmt::format("%{} {} layer {}", op.id, op.kind, op.layer);
    prepared.kernel = def.cuda(view, traits);
    for (const Output& output : op.outputs) {
      if (output.buffer != kNone) prepared.written.push_back(program_.root(output.buffer));
    }
    for (const int32_t id : op.after) prepared.after.push_back(events.at(id));
    if (waited_for.contains(op.id)) {
      prepared.done = new_event();
      events[op.id] = prepared.done.get();
    }
    list.push_back(std::move(prepared));
  }
  return list;
}

CudaMachine::Operand CudaMachine::bind(BufferId id, Lane lane) {
  if (id == kNone) return {};
  int64_t element = 0;
  const BufferId root_id = program_.root(id, &element);
  const Buffer& root = program_.buffer(root_id);
  const int64_t offset = element * size_of(root.dtype);
  if (!root.ring) return {.address = root_memory(root_id) + offset};
  if (!ring_of_.contains(root_id)) {
    ring_of_[root_id] = rings_.size();
    const BufferId counter = program_.root(root.ring->counter);
    rings_.push_back({.slots = {.base = root_memory(root_id),
                                .counter = reinterpret_cast<const int64_t*>(root_memory(counter)),
                                .slots = root.ring->slots,
                                .stride = align_up(root.slot_bytes()),
                                .bytes = root.slot_bytes()},
                      .counter = counter,
                      .staged = {}});
  }
  Ring& ring = rings_[ring_of_.at(root_id)];
  CudaMemory& staged = ring.staged[index_of(lane)];
  if (staged == nullptr) {
    void* place = nullptr;
    cuda_check(cudaMalloc(&place, static_cast<size_t>(align_up(ring.slots.bytes))), "allocating a ring's slot");
    staged.reset(static_cast<std::byte*>(place));
  }
  return {.address = staged.get() + offset,
          .ring = static_cast<int64_t>(ring_of_.at(root_id)),
          .whole = program_.buffer(id).slot_bytes() == root.slot_bytes()};
}

void CudaMachine::bind_operands() {
  for (auto& [name, list] : sections_) {
    for (Prepared& prepared : list) {
      const Op& op = *prepared.op;
      for (const BufferId id : op.inputs) prepared.inputs.push_back(bind(id, op.lane));
      for (const Output& output : op.outputs) prepared.outputs.push_back(bind(output.buffer, op.lane));
      prepared.workspace = bind(op.workspace, op.lane).address;
    }
  }
}

// --- a step

void CudaMachine::load(size_t ring, Lane lane, Track& track) {
  bool& fresh = track.fresh[ring][index_of(lane)];
  if (fresh) return;
  load_slot(rings_[ring].slots, rings_[ring].staged[index_of(lane)].get(), stream(lane));
  fresh = true;
}

void CudaMachine::run(const Prepared& prepared, Track& track) {
  const NvtxRange range(prepared.range.c_str());
  const Op& op = *prepared.op;
  CUstream_st* const on = stream(op.lane);
  for (CUevent_st* event : prepared.after) cuda_check(cudaStreamWaitEvent(on, event), "waiting for another lane");
  std::vector<void*> inputs;
  std::vector<void*> outputs;
  for (const Operand& in : prepared.inputs) {
    if (in.ring >= 0) load(static_cast<size_t>(in.ring), op.lane, track);
    inputs.push_back(in.address);
  }
  for (size_t i = 0; i < prepared.outputs.size(); ++i) {
    const Operand& out = prepared.outputs[i];
    const bool keeps = !out.whole || op.outputs[i].bind == Bind::add;
    if (out.ring >= 0 && keeps) load(static_cast<size_t>(out.ring), op.lane, track);
    outputs.push_back(out.address);
  }
  CudaCall call;
  call.inputs = inputs;
  call.outputs = outputs;
  call.workspace = prepared.workspace;
  call.stream = on;
  prepared.kernel(call);
  for (const Operand& out : prepared.outputs) {
    if (out.ring < 0) continue;
    const auto ring = static_cast<size_t>(out.ring);
    store_slot(rings_[ring].slots, rings_[ring].staged[index_of(op.lane)].get(), on);
    track.fresh[ring].fill(false);
    track.fresh[ring][index_of(op.lane)] = true;
  }
  for (size_t i = 0; i < rings_.size(); ++i) {
    if (std::ranges::count(prepared.written, rings_[i].counter) > 0) track.fresh[i].fill(false);
  }
  if (prepared.done != nullptr) cuda_check(cudaEventRecord(prepared.done.get(), on), "recording an event");
}

// All lanes start together and end together: a call of a section is a barrier.
void CudaMachine::enqueue(const std::vector<Prepared>& section, const OpMark& mark) {
  CUstream_st* const main = stream(Lane::compute);
  std::array<bool, kLanes> used = {};
  for (const Prepared& prepared : section) used[index_of(prepared.op->lane)] = true;
  cuda_check(cudaEventRecord(fork_.get(), main), "recording an event");
  for (size_t lane = 0; lane < kLanes; ++lane) {
    CUstream_st* const other = streams_[lane].get();
    if (used[lane] && other != main) cuda_check(cudaStreamWaitEvent(other, fork_.get()), "forking");
  }
  Track track{.fresh = std::vector<std::array<bool, kLanes>>(rings_.size())};
  for (const Prepared& prepared : section) {
    run(prepared, track);
    if (mark) mark(*prepared.op);
  }
  for (size_t lane = 0; lane < kLanes; ++lane) {
    CUstream_st* const other = streams_[lane].get();
    if (!used[lane] || other == main) continue;
    cuda_check(cudaEventRecord(joins_[lane].get(), other), "recording an event");
    cuda_check(cudaStreamWaitEvent(main, joins_[lane].get()), "joining");
  }
}

CudaGraph CudaMachine::capture(const std::function<void()>& work) {
  CUstream_st* const main = stream(Lane::compute);
  cuda_check(cudaStreamBeginCapture(main, cudaStreamCaptureModeThreadLocal), "capturing a section");
  work();
  cudaGraph_t graph = nullptr;
  cuda_check(cudaStreamEndCapture(main, &graph), "capturing a section");
  return CudaGraph(graph);
}

CudaGraphExec CudaMachine::instantiated(const CudaGraph& graph) {
  cudaGraphExec_t executable = nullptr;
  cuda_check(cudaGraphInstantiate(&executable, graph.get(), 0), "making a graph of a section");
  return CudaGraphExec(executable);
}

void CudaMachine::launch_observed(const Call& call, int64_t& index, const OpObserver& observer) {
  const Section& section = *program_.find_section(call.section);
  for (int64_t i = 0; i < call.times; ++i, ++index) {
    Track track{.fresh = std::vector<std::array<bool, kLanes>>(rings_.size())};
    for (const Prepared& prepared : sections_.at(call.section)) {
      run(prepared, track);
      const cudaError_t status = cudaDeviceSynchronize();
      if (status != cudaSuccess) {
        throw DeviceError(fmt::format("%{} {} in section {} failed on the GPU: {}", prepared.op->id, prepared.op->kind,
                                      call.section, cudaGetErrorString(status)));
      }
      if (observer) observer(index, section, *prepared.op);
    }
  }
}

void CudaMachine::step(const OpObserver& observer) {
  const NvtxRange whole("step");
  int64_t index = 0;
  for (const Call& call : program_.step) {
    const NvtxRange range(call.section.c_str());
    if (observer || options_.debug) {
      launch_observed(call, index, observer);
      continue;
    }
    if (launched_ && !graphs_.contains(call.section)) {
      graphs_[call.section] = instantiated(capture([&] { enqueue(sections_.at(call.section)); }));
    }
    for (int64_t i = 0; i < call.times; ++i) {
      if (launched_) {
        cuda_check(cudaGraphLaunch(graphs_.at(call.section).get(), stream(Lane::compute)), "launching a section");
      } else {
        enqueue(sections_.at(call.section));
      }
    }
  }
  launched_ = launched_ || !(observer || options_.debug);
}

void CudaMachine::wait() const {
  for (const CudaStream& s : streams_) cuda_check(cudaStreamSynchronize(s.get()), "a step on the GPU");
}

void CudaMachine::run_once(Program program, const OpTable& ops) {
  CudaMachine borrower(std::move(program), ops, {.gpu = options_.gpu, .lender = this});
  borrower.step();
  borrower.wait();
}

}  // namespace centavo
