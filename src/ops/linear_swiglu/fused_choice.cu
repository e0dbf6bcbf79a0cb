#include "ops/linear_swiglu/fused_choice.h"

#include "ops/cuda/device.cuh"
#include "ops/cuda/libraries.h"
#include "ops/cuda/timing.cuh"
#include "ops/linear/product_cuda.h"

namespace centavo {
namespace {

std::vector<BufferId> operands_of(const Op& op) {
  std::vector<BufferId> ids = op.inputs;
  for (const Output& output : op.outputs) ids.push_back(output.buffer);
  return ids;
}

std::string key_of(const OpView& v, const std::string& key) {
  std::string alignments;
  for (const BufferId id : operands_of(v.op())) {
    alignments += fmt::format("{}{}", alignments.empty() ? "" : ",", id == kNone ? 0 : alignment_of(v.program(), id));
  }
  return fmt::format("{} {} align {}", key, name_of(v.input(0).dtype), alignments);
}

// Sets of the op's operands, one behind the other, and the workspace.
class Operands {
 public:
  Operands(const OpView& v, int64_t workspace_bytes) : inputs_(v.op().inputs.size()) {
    int64_t bytes = 0;
    for (const BufferId id : operands_of(v.op())) {
      begins_.push_back(id == kNone ? kAbsent : bytes);
      if (id != kNone) bytes += ceil_div(v.program().buffer(id).slot_bytes(), 256) * 256;
    }
    set_bytes_ = bytes;
    sets_ = std::clamp<int64_t>(kRotatedBytes / bytes, 1, kMostSets);
    bytes_ = sets_ * bytes + workspace_bytes;
  }

  int64_t bytes() const { return bytes_; }
  void lie_in(void* memory) { memory_ = static_cast<char*>(memory); }

  void run(const CudaKernel& kernel, int64_t i, CUstream_st* stream) const {
    char* const set = memory_ + i % sets_ * set_bytes_;
    std::vector<void*> operands;
    for (const int64_t begin : begins_) operands.push_back(begin == kAbsent ? nullptr : set + begin);
    const std::span<void* const> all = operands;
    kernel({{all.first(inputs_), all.subspan(inputs_), memory_ + sets_ * set_bytes_}, stream});
  }

 private:
  static constexpr int64_t kAbsent = -1;
  size_t inputs_ = 0;
  std::vector<int64_t> begins_;
  int64_t set_bytes_ = 0;
  int64_t sets_ = 1;
  int64_t bytes_ = 0;
  char* memory_ = nullptr;
};

// Milliseconds of one launch, with the code loaded and the clock where this kernel takes it.
float ms_of(const CudaKernel& kernel, const Operands& operands, CUstream_st* stream) {
  const Event start;
  const Event end;
  operands.run(kernel, 0, stream);
  start.record(stream);
  operands.run(kernel, 1, stream);
  end.record(stream);
  end.wait();
  return time_alone(stream, end.ms_since(start), [&](int64_t launch) { operands.run(kernel, launch, stream); });
}

size_t fastest(CudaLibraries& libraries, const std::vector<CudaWay>& ways, const Operands& operands, bool is_long) {
  size_t best = 0;
  if (is_long) {
    const float about_ms = ms_of(ways[0].kernel, operands, libraries.stream());
    heat(about_ms, [&](int64_t launch) { operands.run(ways[0].kernel, launch, libraries.stream()); });
  }
  float best_ms = ms_of(ways[0].kernel, operands, libraries.stream());
  for (size_t i = 1; i < ways.size(); ++i) {
    const float ms = ms_of(ways[i].kernel, operands, libraries.stream());
    if (ms >= kClearlyFaster * best_ms) continue;
    best = i;
    best_ms = ms;
  }
  return best;
}

size_t choose_way(const OpView& v, const CudaTraits& traits, const std::vector<CudaWay>& ways, const std::string& key,
                  double flops, int64_t workspace_bytes) {
  if (ways.size() == 1 || flops < kShortFlops) return 0;
  const std::string full_key = key_of(v, key);
  const auto kept = std::ranges::find(ways, traits.libraries->tuning.find(full_key), &CudaWay::name);
  if (kept != ways.end()) return static_cast<size_t>(kept - ways.begin());
  Operands operands(v, workspace_bytes);
  if (!traits.libraries->has_room_for_scratch(operands.bytes())) return 0;
  operands.lie_in(traits.libraries->scratch(operands.bytes()));
  const size_t best = fastest(*traits.libraries, ways, operands, flops >= kLongFlops);
  traits.libraries->tuning.set(full_key, ways[best].name);
  return best;
}

}  // namespace

size_t fastest_way(const OpView& v, const CudaTraits& traits, const std::vector<CudaWay>& ways, const std::string& key,
                   double flops, int64_t workspace_bytes) {
  const size_t way = choose_way(v, traits, ways, key, flops, workspace_bytes);
  traits.libraries->ways[v.op().kind].insert(ways[way].name);
  return way;
}

}  // namespace centavo
