#include "machine/cpu/guard.h"

#include <algorithm>
#include <cstring>

#include "program/access.h"
#include "program/text.h"

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

namespace centavo {
namespace {

constexpr std::byte kPoison{0xff};  // NaN in f64, f32, bf16 and both 8-bit formats; -1 in integers
constexpr std::byte kRedZone{0xa5};

void close_memory([[maybe_unused]] std::byte* begin, [[maybe_unused]] int64_t bytes) {
#if defined(__SANITIZE_ADDRESS__)
  __asan_poison_memory_region(begin, static_cast<size_t>(bytes));
#endif
}

}  // namespace

void poison_bytes(std::byte* begin, int64_t bytes) { std::fill_n(begin, bytes, kPoison); }

void open_memory([[maybe_unused]] std::byte* begin, [[maybe_unused]] int64_t bytes) {
#if defined(__SANITIZE_ADDRESS__)
  __asan_unpoison_memory_region(begin, static_cast<size_t>(bytes));
#endif
}

MemoryGuard::MemoryGuard(const Program& program, const Op& op, const CpuCall& call,
                         const std::map<Home, std::byte*>& arenas)
    : program_(program), op_(op), arenas_(arenas) {
  for (const auto& [home, arena] : arenas_) close_memory(arena, program_.arena_bytes.at(home));
  for (size_t i = 0; i < op.inputs.size(); ++i) watch(op.inputs[i], static_cast<std::byte*>(call.inputs[i]));
  for (size_t i = 0; i < op.outputs.size(); ++i) {
    watch(op.outputs[i].buffer, static_cast<std::byte*>(call.outputs[i]));
    if (op.outputs[i].bind == Bind::add) continue;
    poison(op.outputs[i].buffer, static_cast<std::byte*>(call.outputs[i]), call);
  }
  watch(op.workspace, static_cast<std::byte*>(call.workspace));
  poison(op.workspace, static_cast<std::byte*>(call.workspace), call);
}

void MemoryGuard::poison(BufferId id, std::byte* address, const CpuCall& call) {
  if (id == kNone) return;
  std::map<std::byte*, std::byte*> inputs;  // begin -> end
  for (size_t i = 0; i < op_.inputs.size(); ++i) {
    if (op_.inputs[i] == kNone) continue;
    auto* begin = static_cast<std::byte*>(call.inputs[i]);
    std::byte*& end = inputs[begin];
    end = std::max(end, begin + program_.buffer(op_.inputs[i]).slot_bytes());
  }
  std::byte* end = address + program_.buffer(id).slot_bytes();
  for (const auto& [input, input_end] : inputs) {
    if (address < input) poison_bytes(address, std::min(input, end) - address);
    address = std::min(std::max(address, input_end), end);
  }
  poison_bytes(address, end - address);
}

void MemoryGuard::watch(BufferId id, std::byte* address) {
  if (id == kNone) return;
  const Buffer& buffer = program_.buffer(id);
  const Buffer& root = program_.buffer(program_.root(id));
  open_memory(address, buffer.slot_bytes());
  if (root.borrowed || buffer.view) return;  // its surroundings are another buffer's
  std::byte* end = arenas_.at(root.home) + root.offset_bytes.value() + root.bytes();
  const int64_t left = arenas_.at(root.home) + program_.arena_bytes.at(root.home) - end;
  CHECK(left >= kRedZoneBytes, "a debug machine needs a program placed with red zones");
  open_memory(end, kRedZoneBytes);
  std::fill_n(end, kRedZoneBytes, kRedZone);
  close_memory(end, kRedZoneBytes);
  zones_.push_back({end, id});
}

void MemoryGuard::check() const {
  for (const auto& [home, arena] : arenas_) open_memory(arena, program_.arena_bytes.at(home));
  for (const Zone& zone : zones_) {
    const bool intact = std::all_of(zone.begin, zone.begin + kRedZoneBytes, [](std::byte b) { return b == kRedZone; });
    CHECK(intact, "%{} {} wrote past the end of {}", op_.id, op_.kind, program_.buffer(zone.buffer).name);
  }
}

}  // namespace centavo
