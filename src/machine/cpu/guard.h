// The debug machine's eyes: what an op touches must lie in the buffers it declared.
#pragma once

#include <cstddef>
#include <map>
#include <vector>

#include "program/op_table.h"

namespace centavo {

// Free bytes that debug programs are placed with after every buffer.
inline constexpr int64_t kRedZoneBytes = 256;

// Fills memory with a pattern that is NaN in every float type.
void poison_bytes(std::byte* begin, int64_t bytes);
// Makes memory accessible again under the address sanitizer; nothing elsewhere.
void open_memory(std::byte* begin, int64_t bytes);

// Construct before an op runs, `check` after it. Poisons the outputs that the op writes, except where an input lies
// inside them or around them, and its workspace, fills the
// red zones of all operands, and under the address sanitizer closes every other byte of the arenas. `check` opens the
// arenas and CHECKs the red zones: an op that wrote past its buffers is named.
class MemoryGuard {
 public:
  MemoryGuard(const Program& program, const Op& op, const CpuCall& call, const std::map<Home, std::byte*>& arenas);
  void check() const;

 private:
  struct Zone {
    const std::byte* begin;
    BufferId buffer;
  };

  // `id` as the op names it; its memory in this call begins at `address`.
  void watch(BufferId id, std::byte* address);
  // Poisons what the op defines, and nothing that it reads.
  void poison(BufferId id, std::byte* address, const CpuCall& call);

  const Program& program_;
  const Op& op_;
  const std::map<Home, std::byte*>& arenas_;
  std::vector<Zone> zones_;
};

}  // namespace centavo
