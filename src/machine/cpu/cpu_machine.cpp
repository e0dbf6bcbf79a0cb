#include "machine/cpu/cpu_machine.h"

#include <omp.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstring>

#include "base/communicator.h"
#include "base/file_memory.h"
#include "base/parallel.h"
#include "machine/cpu/guard.h"
#include "passes/place.h"

namespace centavo {
namespace {

// On all threads: pages that are touched for the first time cost more than the copy.
void copy_bytes(std::byte* to, const std::byte* from, size_t size) {
  constexpr int64_t kGrain = 1 << 18;
  parallel_ranges(static_cast<int64_t>(size), kGrain, [&](int64_t begin, int64_t end) {
    std::memcpy(to + begin, from + begin, static_cast<size_t>(end - begin));
  });
}

}  // namespace

// Where an operand lies: a fixed address, or one slot of a ring picked by a counter.
struct CpuMachine::Operand {
  std::byte* base = nullptr;
  const int64_t* counter = nullptr;
  int64_t slots = 1;
  int64_t stride = 0;

  std::byte* address() const { return counter == nullptr ? base : base + (*counter % slots) * stride; }
};

struct CpuMachine::Prepared {
  const Op* op = nullptr;
  CpuKernel kernel;
  std::vector<Operand> inputs;
  std::vector<Operand> outputs;
  Operand workspace;
  std::string collective;  // how a collective op is called in messages
};

int CpuMachine::thread_count(int64_t threads) {
  const int available = omp_get_num_procs();
  return threads <= 0 ? available : static_cast<int>(std::min<int64_t>(threads, 4 * available));
}

CpuMachine::CpuMachine(Program program, const OpTable& ops, const Options& options)
    : program_(std::move(program)), options_(options), threads_(thread_count(options.threads)) {
  check_ranks();
  for (size_t i = 0; i < program_.buffers.size(); ++i) names_[program_.buffers[i].name] = static_cast<BufferId>(i);
  omp_set_num_threads(threads_);
  allocate();
  for (const Section& section : program_.sections) {
    std::vector<Prepared>& list = sections_[section.name];
    for (const Op& op : section.ops) list.push_back(prepare(op, ops));
  }
}

void CpuMachine::check_ranks() const {
  const int64_t ranks = options_.communicator == nullptr ? 1 : options_.communicator->ranks();
  if (program_.ranks == ranks) return;
  if (ranks == 1) user_error("the program is for {} ranks and this is one process; use ranks 1", program_.ranks);
  user_error("the program is for {} ranks and {} run; start as many", program_.ranks, ranks);
}

CpuMachine::~CpuMachine() {
  for (const auto& [home, arena] : arenas_) {
    if (options_.debug) open_memory(arena, program_.arena_bytes.at(home));
    munmap(arena, static_cast<size_t>(program_.arena_bytes.at(home)));
  }
}

std::byte* CpuMachine::anonymous_memory(int64_t bytes) const {
  void* memory = mmap(nullptr, static_cast<size_t>(bytes), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) {
    throw OutOfMemory(
        fmt::format("the plan needs {} bytes of memory, and the system refuses them; use a smaller "
                    "micro_batch or seq_len. By region:{}",
                    bytes, region_table(program_)));
  }
  return static_cast<std::byte*>(memory);
}

void CpuMachine::allocate() {
  for (const auto& [home, bytes] : program_.arena_bytes) {
    if (bytes == 0) continue;
    const bool in_file = home == Home::host && !options_.host_directory.empty();
    arenas_[home] = in_file ? map_file_memory(options_.host_directory, bytes) : anonymous_memory(bytes);
    if (options_.debug) poison_bytes(arenas_[home], bytes);
  }
  // Counters, flags and caches start at zero.
  for (const Buffer& b : program_.buffers) {
    if (b.persistent && !b.view && !b.borrowed) std::memset(memory(b.name), 0, static_cast<size_t>(b.bytes()));
  }
}

CpuMachine::Operand CpuMachine::bind(BufferId id) const {
  if (id == kNone) return {};
  int64_t element = 0;
  const BufferId root_id = program_.root(id, &element);
  const Buffer& root = program_.buffer(root_id);
  Operand operand;
  if (root.borrowed) {
    CHECK(options_.lender != nullptr, "buffer {} is borrowed and there is no lender", root.name);
    operand.base = options_.lender->memory(root.name);
  } else {
    operand.base = arenas_.at(root.home) + root.offset_bytes.value();
  }
  operand.base += element * size_of(root.dtype);
  if (root.ring) {
    operand.counter = reinterpret_cast<const int64_t*>(bind(root.ring->counter).base);
    operand.slots = root.ring->slots;
    operand.stride = align_up(root.slot_bytes());
  }
  return operand;
}

CpuMachine::Prepared CpuMachine::prepare(const Op& op, const OpTable& ops) const {
  const OpDef& def = ops.at(op.kind);
  CHECK(def.cpu != nullptr, "{} has no CPU kernel", op.kind);
  const OpView view(program_, op);
  const CpuTraits traits{threads_, options_.communicator};
  const int64_t needed = def.cpu_workspace_bytes == nullptr ? 0 : def.cpu_workspace_bytes(view, traits);
  if (needed > 0 && (op.workspace == kNone || program_.buffer(op.workspace).slot_bytes() < needed)) {
    user_error("%{} {} needs a workspace of {} bytes on this machine; place the program for {} threads", op.id, op.kind,
               needed, threads_);
  }
  Prepared prepared;
  prepared.op = &op;
  prepared.kernel = def.cpu(view, traits);
  if (def.collective) prepared.collective = fmt::format("%{} {} {}", op.id, op.kind, view.input(0).name);
  for (const BufferId id : op.inputs) prepared.inputs.push_back(bind(id));
  for (const Output& output : op.outputs) prepared.outputs.push_back(bind(output.buffer));
  prepared.workspace = bind(op.workspace);
  return prepared;
}

void CpuMachine::tell_communicator(const Prepared& prepared) const {
  if (options_.communicator == nullptr || prepared.collective.empty()) return;
  const auto counter = names_.find("step");
  const bool counts = counter != names_.end() && program_.buffer(counter->second).dtype == DType::i64;
  const int64_t step = counts ? *reinterpret_cast<const int64_t*>(bind(counter->second).base) : 0;
  options_.communicator->at(prepared.collective, step);
}

void CpuMachine::run(const Prepared& prepared) const {
  constexpr size_t kMaxOperands = 16;
  void* inputs[kMaxOperands];
  void* outputs[kMaxOperands];
  const size_t n_inputs = prepared.inputs.size();
  const size_t n_outputs = prepared.outputs.size();
  CHECK(n_inputs <= kMaxOperands && n_outputs <= kMaxOperands);
  for (size_t i = 0; i < n_inputs; ++i) inputs[i] = prepared.inputs[i].address();
  for (size_t i = 0; i < n_outputs; ++i) outputs[i] = prepared.outputs[i].address();
  const CpuCall call{{inputs, n_inputs}, {outputs, n_outputs}, prepared.workspace.address()};
  tell_communicator(prepared);
  if (!options_.debug) {
    prepared.kernel(call);
    return;
  }
  const MemoryGuard guard(program_, *prepared.op, call, arenas_);
  prepared.kernel(call);
  guard.check();
}

void CpuMachine::step(const OpObserver& observer) {
  omp_set_num_threads(threads_);
  int64_t call_index = 0;
  for (const Call& call : program_.step) {
    const Section& section = *program_.find_section(call.section);
    for (int64_t i = 0; i < call.times; ++i, ++call_index) {
      for (const Prepared& prepared : sections_.at(call.section)) {
        run(prepared);
        if (observer) observer(call_index, section, *prepared.op);
      }
    }
  }
}

std::byte* CpuMachine::memory(const std::string& buffer, int64_t slot) const {
  const auto it = names_.find(buffer);
  CHECK(it != names_.end(), "there is no buffer {}", buffer);
  const Operand operand = bind(it->second);
  CHECK(slot >= 0 && slot < operand.slots, "buffer {} has {} slots", buffer, operand.slots);
  return operand.base + slot * operand.stride;
}

void CpuMachine::write(const std::string& buffer, std::span<const std::byte> bytes, int64_t slot) {
  std::byte* to = memory(buffer, slot);
  CHECK(static_cast<int64_t>(bytes.size()) == program_.buffer(names_.at(buffer)).slot_bytes(), "size of {}", buffer);
  std::memcpy(to, bytes.data(), bytes.size());
}

void CpuMachine::read(const std::string& buffer, std::span<std::byte> bytes, int64_t slot) const {
  const std::byte* from = memory(buffer, slot);
  CHECK(static_cast<int64_t>(bytes.size()) == program_.buffer(names_.at(buffer)).slot_bytes(), "size of {}", buffer);
  std::memcpy(bytes.data(), from, bytes.size());
}

std::byte* CpuMachine::elements(const std::string& buffer, int64_t first, size_t bytes) const {
  std::byte* begin = memory(buffer);
  const Buffer& b = program_.buffer(names_.at(buffer));
  const int64_t skipped = first * size_of(b.dtype);
  CHECK(first >= 0 && skipped + static_cast<int64_t>(bytes) <= b.slot_bytes(), "elements of {}", buffer);
  return begin + skipped;
}

void CpuMachine::write_elements(const std::string& buffer, int64_t first, std::span<const std::byte> bytes) {
  copy_bytes(elements(buffer, first, bytes.size()), bytes.data(), bytes.size());
}

void CpuMachine::read_elements(const std::string& buffer, int64_t first, std::span<std::byte> bytes) const {
  copy_bytes(bytes.data(), elements(buffer, first, bytes.size()), bytes.size());
}

void CpuMachine::run_once(Program program, const OpTable& ops) {
  CpuMachine(std::move(program), ops, {.threads = options_.threads, .lender = this}).step();
}

}  // namespace centavo
