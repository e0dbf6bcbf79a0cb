#include "passes/place.h"

#include <omp.h>

#include <algorithm>
#include <unordered_map>

#include "program/lifetime.h"
#include "program/order.h"

namespace centavo {
namespace {

struct Block {
  BufferId id = kNone;
  int64_t bytes = 0;
  int64_t offset = 0;
  std::vector<Span> lives;  // none: always alive
};

bool overlap_in_time(const Order& order, const Block& a, const Block& b) {
  return a.lives.empty() || b.lives.empty() || overlap(order, a.lives, b.lives);
}

// The lowest offset where `block` fits between the placed blocks that live at the same time.
int64_t lowest_offset(const Order& order, const Block& block, const std::vector<Block>& placed) {
  std::vector<const Block*> blocking;
  for (const Block& other : placed) {
    if (overlap_in_time(order, block, other)) blocking.push_back(&other);
  }
  std::ranges::sort(blocking, {}, &Block::offset);
  int64_t offset = 0;
  for (const Block* other : blocking) {
    if (offset + block.bytes <= other->offset) break;
    offset = std::max(offset, other->offset + other->bytes);
  }
  return offset;
}

std::vector<Block> blocks_of(const Program& program, const Order& order, const PlaceOptions& options, Home home) {
  std::unordered_map<BufferId, std::vector<Span>> lives;
  if (options.share_addresses) lives = spans(program, order);
  std::vector<Block> blocks;
  for (size_t i = 0; i < program.buffers.size(); ++i) {
    const Buffer& b = program.buffers[i];
    const auto id = static_cast<BufferId>(i);
    if (b.home != home || b.view || b.borrowed) continue;
    Block block{id, align_up(b.bytes() + options.red_zone_bytes), 0, {}};
    if (const auto it = lives.find(id); it != lives.end()) block.lives = it->second;
    blocks.push_back(std::move(block));
  }
  // Always alive first, then the largest; ties by first use, then by declaration.
  std::ranges::stable_sort(blocks, [](const Block& a, const Block& b) {
    if (a.lives.empty() != b.lives.empty()) return a.lives.empty();
    return !a.lives.empty() && a.bytes > b.bytes;
  });
  return blocks;
}

int64_t workspace_bytes(const OpDef& def, const OpView& view, const MachineTraits& traits) {
  if (const auto* cuda = std::get_if<CudaTraits>(&traits)) {
    return def.cuda_workspace_bytes == nullptr ? 0 : def.cuda_workspace_bytes(view, *cuda);
  }
  return def.cpu_workspace_bytes == nullptr ? 0 : def.cpu_workspace_bytes(view, std::get<CpuTraits>(traits));
}

}  // namespace

Program add_workspaces(Program program, const OpTable& ops, const MachineTraits& traits) {
  if (const auto* cpu = std::get_if<CpuTraits>(&traits)) {
    omp_set_num_threads(cpu->threads);  // oneDNN sizes its scratch for the pool as it stands
  }
  for (Section& section : program.sections) {
    for (Op& op : section.ops) {
      const OpDef& def = ops.at(op.kind);
      if (op.workspace != kNone) continue;
      const int64_t bytes = workspace_bytes(def, OpView(program, op), traits);
      if (bytes == 0) continue;
      op.workspace = program.add({.name = fmt::format("ws.{}.{}", section.name, op.id),
                                  .dtype = DType::u8,
                                  .shape = {bytes},
                                  .kind = BufferKind::workspace});
    }
  }
  return program;
}

Program add_cpu_workspaces(Program program, const OpTable& ops, const CpuTraits& traits) {
  return add_workspaces(std::move(program), ops, traits);
}

Program place(Program program, const PlaceOptions& options) {
  for (Buffer& b : program.buffers) b.borrowed = b.borrowed || (b.persistent && options.borrow.contains(b.kind));
  const Order order(program);
  program.arena_bytes.clear();
  for (const Home home : {Home::device, Home::host}) {
    std::vector<Block> placed;
    int64_t arena_bytes = 0;
    for (Block& block : blocks_of(program, order, options, home)) {
      block.offset = lowest_offset(order, block, placed);
      program.buffer(block.id).offset_bytes = block.offset;
      arena_bytes = std::max(arena_bytes, block.offset + block.bytes);
      placed.push_back(std::move(block));
    }
    if (arena_bytes > 0 || home == Home::device) program.arena_bytes[home] = arena_bytes;
  }
  return program;
}

std::vector<RegionBytes> regions(const Program& program) {
  std::vector<RegionBytes> result;
  for (int k = 0; k <= static_cast<int>(BufferKind::stream_out); ++k) {
    RegionBytes region{static_cast<BufferKind>(k), 0, false};
    for (const Buffer& b : program.buffers) {
      if (b.kind != region.kind || b.home != Home::device || b.view || b.borrowed) continue;
      region.bytes += align_up(b.bytes());
      region.shares = region.shares || !always_alive(b);
    }
    if (region.bytes > 0) result.push_back(region);
  }
  return result;
}

std::string region_table(const Program& program) {
  std::string table;
  for (const RegionBytes& region : regions(program)) {
    table += fmt::format("\n  {:<16} {:>14} bytes{}", name_of(region.kind), region.bytes,
                         region.shares ? " (before sharing)" : "");
  }
  return table;
}

}  // namespace centavo
