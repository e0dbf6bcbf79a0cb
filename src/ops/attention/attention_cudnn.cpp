#include "ops/attention/attention_cudnn.h"

#include <algorithm>

#include "ops/attention/attention_cuda.h"
#include "ops/attention/sdpa_cudnn.h"
#include "ops/cuda/cudnn_library.h"

namespace centavo {
namespace {

enum In : size_t { kQkv, kCuSeqlens, kKCache };
enum Out : size_t { kY, kLse };
enum GradIn : size_t { kDy, kGradQkv, kGradY, kGradLse, kGradCuSeqlens };
enum GradOut : size_t { kDqkv };

constexpr int64_t kMiB = 1 << 20;
// For what cuDNN's engines keep beside their tensors: 256 bytes, packed 17 KiB (9.19).
constexpr int64_t kEngineBytes = kMiB;
// Of dP, which the deterministic backward keeps in memory.
constexpr int64_t kMostScoreBytes = 1024 * kMiB;
// Documents handed over: as many as would fill the tokens this often, were they all max_seqlen long.
constexpr int64_t kHandedTimes = 4;

constexpr int64_t round_up(int64_t value, int64_t to) { return (value + to - 1) / to * to; }
constexpr int64_t bytes_of(int64_t bf16_elements) { return 2 * bf16_elements; }

// An op as cuDNN sees it.
struct Request {
  SdpaCase whole;
  PackedSizes packed;
  DType dtype = DType::bf16;
  bool cached = false;
};

Request request_of(const OpView& v, const CudaTraits& traits) {
  const bool backward = v.op().kind == "attention_grad";
  const Buffer& qkv = v.input(backward ? size_t{kGradQkv} : size_t{kQkv});
  const int64_t documents = v.in(backward ? size_t{kGradCuSeqlens} : size_t{kCuSeqlens})[0] - 1;
  Request r;
  r.dtype = qkv.dtype;
  r.cached = !backward && v.has_input(kKCache);
  SdpaCase& c = r.whole;
  c.direction = backward ? SdpaCase::backward : SdpaCase::forward;
  c.form = v.whole("uniform") == 1 ? SdpaCase::uniform : SdpaCase::packed;
  c.order = backward && traits.deterministic ? SdpaCase::fixed : SdpaCase::free;
  c.tokens = qkv.shape[0];
  c.heads = v.whole("heads");
  c.kv_heads = v.whole("kv_heads");
  c.qkv_row = qkv.shape[1];
  c.head_size = c.qkv_row / (c.heads + 2 * c.kv_heads);
  c.y_row = c.heads * c.head_size;
  const int64_t longest = v.whole("max_seqlen") > 0 ? v.whole("max_seqlen") : c.tokens;
  c.seq = std::min(longest, c.tokens);
  c.batch = c.seq == 0 ? 0 : std::min(documents, kHandedTimes * round_up(c.tokens, c.seq) / c.seq);
  if (c.form == SdpaCase::uniform) c.batch = documents;
  c.window = v.whole("window") < c.seq ? v.whole("window") : 0;
  r.packed = {c.tokens, documents, c.batch, c.seq, c.heads, c.kv_heads, c.head_size};
  return r;
}

// ---- the deterministic backward in turns

int64_t score_bytes(const SdpaCase& c) {
  return bytes_of(c.batch * c.heads * round_up(c.seq, 64) * round_up(c.seq, 128));
}

int64_t largest_divisor(int64_t of, int64_t most) {
  int64_t divisor = std::clamp<int64_t>(most, 1, of);
  while (of % divisor != 0) --divisor;
  return divisor;
}

// One turn: some groups of heads of one sequence, or several whole sequences.
SdpaCase turn_of(const SdpaCase& whole) {
  if (whole.order == SdpaCase::free) return whole;
  SdpaCase turn = whole;
  turn.batch = 1;
  turn.kv_heads = 1;
  turn.heads = whole.heads / whole.kv_heads;
  const int64_t most = std::max<int64_t>(kMostScoreBytes / score_bytes(turn), 1);  // NOLINT: some head, some token
  turn.kv_heads = largest_divisor(whole.kv_heads, most);
  turn.heads *= turn.kv_heads;
  if (turn.kv_heads == whole.kv_heads) turn.batch = largest_divisor(whole.batch, most / whole.kv_heads);
  return turn;
}

// ---- workspaces

// What cuDNN 9.19 asks for: sums of rows and of dq in f32, dq's laid out like dq; with grouped heads dk and dv of every
// head in bf16, for which the interface takes f32 when packed.
int64_t planned_sdpa_bytes(const SdpaCase& c) {
  if (c.direction == SdpaCase::forward) return kEngineBytes;
  const bool packed = c.form == SdpaCase::packed;
  const int64_t rows = packed ? c.tokens : c.batch * c.seq;
  const int64_t f32 = 4;
  const int64_t queries = rows * c.heads;
  int64_t bytes = kEngineBytes + f32 * queries;
  if (c.order == SdpaCase::fixed) {
    bytes += score_bytes(c);
  } else {
    bytes += f32 * (packed ? rows * c.qkv_row : queries * c.head_size);
  }
  if (c.heads != c.kv_heads) bytes += 2 * (packed ? f32 : bytes_of(1)) * queries * c.head_size;
  return bytes;
}

// Parts of a workspace, each at a multiple of 256 bytes.
class Parts {
 public:
  explicit Parts(void* base) : base_(static_cast<std::byte*>(base)) {}
  template <class T = std::byte>
  T* take(int64_t count) {
    std::byte* part = base_ == nullptr ? nullptr : base_ + bytes_;
    bytes_ += round_up(count * static_cast<int64_t>(sizeof(T)), 256);
    return reinterpret_cast<T*>(part);
  }
  int64_t bytes() const { return bytes_; }

 private:
  std::byte* base_;
  int64_t bytes_ = 0;
};

struct Scratch {
  DocumentTable table;
  float* stats = nullptr;
  void* dk = nullptr;
  void* dv = nullptr;
  void* cudnn = nullptr;  // cuDNN's, and the own kernels' before it
};

// Lays a workspace out; with a null base only its size is of interest.
Scratch scratch_of(const Request& r, int64_t cudnn_bytes, Parts& parts) {
  const SdpaCase& c = r.whole;
  Scratch s;
  const bool one_sequence = c.batch == 1 && c.form == SdpaCase::uniform;
  if (c.form == SdpaCase::packed) {
    const int64_t entries = r.packed.handed + 1;
    s.table = {parts.take<int32_t>(entries),
               parts.take<int32_t>(entries),
               parts.take<int64_t>(entries),
               parts.take<int64_t>(entries),
               parts.take<int64_t>(entries),
               parts.take<int64_t>(entries),
               parts.take<int32_t>(r.packed.documents + 1)};
  }
  if (c.form == SdpaCase::packed || (c.direction == SdpaCase::backward && !one_sequence)) {
    s.stats = parts.take<float>(c.tokens * c.heads);
  }
  if (c.gathers_key_gradients()) {
    s.dk = parts.take(bytes_of(c.tokens * c.kv_heads * c.head_size));
    s.dv = parts.take(bytes_of(c.tokens * c.kv_heads * c.head_size));
  }
  s.cudnn = parts.take(cudnn_bytes);
  return s;
}

// ---- refusals

std::string refusal_of_case(const Request& r, int architecture) {
  const SdpaCase& c = r.whole;
  if (!built_with_cudnn()) return "built without cuDNN";
  if (r.dtype != DType::bf16) return fmt::format("elements {}", name_of(r.dtype));
  if (r.cached) return "a cache";
  if (c.tokens == 0) return "no tokens";
  if (architecture < 80) return fmt::format("compute capability {}.{}", architecture / 10, architecture % 10);
  const int64_t largest = architecture / 10 == 9 ? 256 : 128;
  if (c.head_size % 8 != 0 || c.head_size > largest) return fmt::format("head size {}", c.head_size);
  return {};
}

std::string refusal_of_form(const Request& r, int architecture) {
  const SdpaCase& c = r.whole;
  const bool backward = c.direction == SdpaCase::backward;
  if (c.form == SdpaCase::packed) {
    if (architecture / 10 != 9 && architecture / 10 != 10) return "packed documents on this architecture";
    if (c.order == SdpaCase::fixed) return "a deterministic backward of packed documents";
    if (backward && c.head_size % 16 != 0) return fmt::format("packed documents with head size {}", c.head_size);
    return {};
  }
  if (c.order == SdpaCase::fixed && score_bytes(turn_of(c)) > kMostScoreBytes) {
    return fmt::format("a deterministic backward over {} tokens", c.seq);
  }
  return {};
}

std::string refusal_by_rule(const Request& r, const CudaTraits& traits) {
  const std::string refusal = refusal_of_case(r, traits.architecture);
  return refusal.empty() ? refusal_of_form(r, traits.architecture) : refusal;
}

std::string refusal_of_plan(const SdpaCase& turn, CudaLibraries& libraries) {
  const auto plan = sdpa_plan(turn, libraries);
  if (!plan->refusal().empty()) return fmt::format("cuDNN says: {}", plan->refusal());
  if (plan->workspace_bytes() > planned_sdpa_bytes(turn)) {
    return fmt::format("cuDNN asks for {} MiB of memory, planned are {}", plan->workspace_bytes() / kMiB,
                       planned_sdpa_bytes(turn) / kMiB);
  }
  return {};
}

std::string refusal_of(const Request& r, const CudaTraits& traits) {
  std::string refusal = refusal_by_rule(r, traits);
  if (!refusal.empty()) return refusal;
  if (!cudnn_library().refusal.empty()) return cudnn_library().refusal;
  return traits.libraries == nullptr ? "" : refusal_of_plan(turn_of(r.whole), *traits.libraries);
}

int64_t workspace_of(const OpView& view, const CudaTraits& traits, int64_t own_bytes) {
  const Request r = request_of(view, traits);
  if (!refusal_by_rule(r, traits).empty()) return 0;
  const int64_t sdpa = planned_sdpa_bytes(turn_of(r.whole));
  Parts parts(nullptr);
  scratch_of(r, r.whole.form == SdpaCase::packed ? std::max(sdpa, own_bytes) : sdpa, parts);
  return parts.bytes();
}

// ---- runs

std::byte* columns(void* matrix, int64_t first) { return static_cast<std::byte*>(matrix) + bytes_of(first); }

// The three parts of a row of qkv or dqkv.
struct QkvParts {
  std::byte* q;
  std::byte* k;
  std::byte* v;
};

QkvParts parts_of_qkv(void* qkv, const SdpaCase& c) {
  const int64_t kv_row = c.kv_heads * c.head_size;
  return {columns(qkv, 0), columns(qkv, c.y_row), columns(qkv, c.y_row + kv_row)};
}

SdpaMemory forward_memory(const CudaCall& call, const SdpaCase& c) {
  const QkvParts qkv = parts_of_qkv(call.inputs[kQkv], c);
  SdpaMemory m;
  m.q = qkv.q;
  m.k = qkv.k;
  m.v = qkv.v;
  m.y = call.outputs[kY];
  m.stats = call.outputs[kLse];
  return m;
}

SdpaMemory backward_memory(const CudaCall& call, const SdpaCase& c) {
  const QkvParts qkv = parts_of_qkv(call.inputs[kGradQkv], c);
  const QkvParts dqkv = parts_of_qkv(call.outputs[kDqkv], c);
  return {.q = qkv.q,
          .k = qkv.k,
          .v = qkv.v,
          .y = call.inputs[kGradY],
          .stats = call.inputs[kGradLse],
          .dy = call.inputs[kDy],
          .dq = dqkv.q,
          .dk = dqkv.k,
          .dv = dqkv.v,
          .documents = {},
          .workspace = nullptr};
}

// The memory of the turn that begins with a sequence and a key/value head.
SdpaMemory memory_of_turn(SdpaMemory m, const SdpaCase& whole, int64_t sequence, int64_t kv_head) {
  const int64_t head = kv_head * (whole.heads / whole.kv_heads);
  const int64_t row = sequence * whole.seq;
  const int64_t query = row * whole.qkv_row + head * whole.head_size;
  const int64_t key = row * whole.qkv_row + kv_head * whole.head_size;
  const int64_t out = row * whole.y_row + head * whole.head_size;
  for (void** at : {&m.q, &m.dq}) *at = columns(*at, query);
  for (void** at : {&m.k, &m.v, &m.dk, &m.dv}) *at = columns(*at, key);
  for (void** at : {&m.y, &m.dy}) *at = columns(*at, out);
  m.stats = static_cast<float*>(m.stats) + (sequence * whole.heads + head) * whole.seq;
  return m;
}

using SharedPlan = std::shared_ptr<const SdpaPlan>;

CudaKernel uniform_forward(const Request& r, SharedPlan plan) {
  return [c = r.whole, plan = std::move(plan)](const CudaCall& call) {
    SdpaMemory memory = forward_memory(call, c);
    memory.workspace = call.workspace;
    plan->run(memory, call.stream);
  };
}

CudaKernel uniform_backward(const Request& r, SharedPlan plan) {
  return [r, turn = turn_of(r.whole), plan = std::move(plan)](const CudaCall& call) {
    const SdpaCase& c = r.whole;
    Parts parts(call.workspace);
    const Scratch scratch = scratch_of(r, 0, parts);
    SdpaMemory memory = backward_memory(call, c);
    if (scratch.stats != nullptr) {
      lse_by_sequence(call.in<float>(kGradLse), scratch.stats, c.batch, c.heads, c.seq, call.stream);
      memory.stats = scratch.stats;
    }
    memory.workspace = scratch.cudnn;
    for (int64_t sequence = 0; sequence < c.batch; sequence += turn.batch) {
      for (int64_t head = 0; head < c.kv_heads; head += turn.kv_heads) {
        plan->run(memory_of_turn(memory, c, sequence, head), call.stream);
      }
    }
  };
}

// The call of an own kernel for the documents that cuDNN does not get.
struct RestCall {
  std::vector<void*> inputs;
  CudaCall call;

  RestCall(const CudaCall& whole, size_t cu_seqlens, const Scratch& scratch)
      : inputs(whole.inputs.begin(), whole.inputs.end()), call(whole) {
    inputs[cu_seqlens] = scratch.table.rest;
    call.inputs = inputs;
    call.workspace = scratch.cudnn;
  }
  RestCall(const RestCall&) = delete;
  RestCall& operator=(const RestCall&) = delete;
};

CudaKernel packed_forward(const Request& r, SharedPlan plan, CudaKernel own) {
  return [r, plan = std::move(plan), own = std::move(own)](const CudaCall& call) {
    Parts parts(call.workspace);
    const Scratch scratch = scratch_of(r, 0, parts);
    write_document_table(r.packed, call.in<int32_t>(kCuSeqlens), scratch.table, call.stream);
    own(RestCall(call, kCuSeqlens, scratch).call);
    SdpaMemory memory = forward_memory(call, r.whole);
    memory.stats = scratch.stats;
    memory.documents = scratch.table;
    memory.workspace = scratch.cudnn;
    plan->run(memory, call.stream);
    lse_from_stats(r.packed, scratch.table, scratch.stats, call.out<float>(kLse), call.stream);
  };
}

CudaKernel packed_backward(const Request& r, SharedPlan plan, CudaKernel own) {
  return [r, plan = std::move(plan), own = std::move(own)](const CudaCall& call) {
    Parts parts(call.workspace);
    const Scratch scratch = scratch_of(r, 0, parts);
    write_document_table(r.packed, call.in<int32_t>(kGradCuSeqlens), scratch.table, call.stream);
    own(RestCall(call, kGradCuSeqlens, scratch).call);
    stats_from_lse(r.packed, scratch.table, call.in<float>(kGradLse), scratch.stats, call.stream);
    SdpaMemory memory = backward_memory(call, r.whole);
    memory.stats = scratch.stats;
    memory.documents = scratch.table;
    memory.workspace = scratch.cudnn;
    if (scratch.dk != nullptr) {
      memory.dk = scratch.dk;
      memory.dv = scratch.dv;
    }
    plan->run(memory, call.stream);
    if (scratch.dk != nullptr) {
      place_key_gradients(r.packed, scratch.table, scratch.dk, scratch.dv, call.outputs[kDqkv], call.stream);
    }
  };
}

}  // namespace

std::optional<CudaKernel> attention_cudnn(const OpView& view, const CudaTraits& traits) {
  const Request r = request_of(view, traits);
  if (traits.libraries == nullptr || !refusal_of(r, traits).empty()) return std::nullopt;
  SharedPlan plan = sdpa_plan(r.whole, *traits.libraries);
  if (r.whole.form == SdpaCase::uniform) return uniform_forward(r, std::move(plan));
  return packed_forward(r, std::move(plan), attention_own_cuda(view, traits));
}

std::optional<CudaKernel> attention_grad_cudnn(const OpView& view, const CudaTraits& traits) {
  const Request r = request_of(view, traits);
  if (traits.libraries == nullptr || !refusal_of(r, traits).empty()) return std::nullopt;
  SharedPlan plan = sdpa_plan(turn_of(r.whole), *traits.libraries);
  if (r.whole.form == SdpaCase::uniform) return uniform_backward(r, std::move(plan));
  return packed_backward(r, std::move(plan), attention_grad_own_cuda(view, traits));
}

int64_t attention_cudnn_workspace(const OpView& view, const CudaTraits& traits) {
  return workspace_of(view, traits, attention_own_cuda_workspace(view, traits));
}

int64_t attention_grad_cudnn_workspace(const OpView& view, const CudaTraits& traits) {
  return workspace_of(view, traits, attention_grad_own_cuda_workspace(view, traits));
}

std::string cudnn_attention_refusal(const OpView& view, const CudaTraits& traits) {
  return refusal_of(request_of(view, traits), traits);
}

std::string cudnn_attention_name(const OpView& view, const CudaTraits& traits) {
  std::string name = "cuDNN " + cudnn_version_text(cudnn_library().version);
  if (traits.libraries == nullptr) return name;
  const SdpaCase turn = turn_of(request_of(view, traits).whole);
  return fmt::format("{} ({} of {} MiB)", name, sdpa_plan(turn, *traits.libraries)->workspace_bytes() / kMiB,
                     planned_sdpa_bytes(turn) / kMiB);
}

}  // namespace centavo
