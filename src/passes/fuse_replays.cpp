#include "passes/fuse_replays.h"

#include <algorithm>
#include <optional>
#include <vector>

#include "base/errors.h"
#include "ops/by_products.h"
#include "program/access.h"
#include "program/references.h"

namespace centavo {
namespace {

// May it move, if only its operands allow it?
bool movable(const Op& reader, const Op& replay) {
  return reader.stage == Stage::backward && reader.lane == Lane::compute && reader.layer == replay.layer;
}

using Ops = std::vector<Op>;

// ops[first] is the replay of s; `fused` takes the place of ops[last], the gradient that makes s from ds.
struct Fusion {
  size_t first;
  size_t last;
  Op fused;

  BufferId s() const { return fused.outputs.back().buffer; }
  BufferId ds() const { return fused.inputs[0]; }
};

// Would the buffer hold what `replay` writes without it as well? Then nothing else has written it since the forward.
bool left_by_forward(const Ops& ops, const Op& replay, BufferId id) {
  return std::ranges::all_of(ops, [&](const Op& op) {
    return op.logical == replay.logical || std::ranges::find(op.outputs, id, &Output::buffer) == op.outputs.end();
  });
}

std::optional<Fusion> fusion_of(const Ops& ops, size_t first) {
  const Op& replay = ops[first];
  if (replay.id == replay.logical || replay.stage != Stage::backward) return std::nullopt;
  auto found = find_by_product(std::span(ops).subspan(first + 1), replay);
  if (!found) return std::nullopt;
  Fusion fusion{first, first + 1 + found->at, std::move(found->fused)};
  for (const Output& output : replay.outputs) {
    const bool stays = output.buffer != kNone && output.buffer != fusion.s();
    if (stays && !left_by_forward(ops, replay, output.buffer)) return std::nullopt;
  }
  return fusion;
}

// The replay as far as it is fused: other outputs stay as they are.
Op of_by_product(Op replay, BufferId s) {
  std::erase_if(replay.outputs, [&](const Output& output) { return output.buffer != s; });
  return replay;
}

// May ds be a view of s: two activations of one form, of which no views exist and only one is needed at a time?
bool can_share(const Program& program, const Ops& ops, const Fusion& f) {
  const Buffer& s = program.buffer(f.s());
  Buffer ds = program.buffer(f.ds());
  ds.name = s.name;
  const auto window = [&](const Buffer& b) { return b.view && (b.view->parent == f.s() || b.view->parent == f.ds()); };
  if (f.ds() < f.s() || ds != s || s.view || std::ranges::any_of(program.buffers, window)) return false;
  const auto user_of = [](BufferId id) { return [id](const Op& op) { return uses(op, id); }; };
  const auto replay = ops.begin() + static_cast<std::ptrdiff_t>(f.first);
  const auto grad = ops.begin() + static_cast<std::ptrdiff_t>(f.last);
  const auto begin = std::find_if(ops.begin(), replay, user_of(f.ds()));
  return std::none_of(begin, replay, user_of(f.s())) && std::none_of(grad + 1, ops.end(), user_of(f.ds()));
}

// From the replay up to its partner: what stays, the fused op, what moved behind it. Nothing if something must stay
// that cannot.
std::optional<Ops> rewritten(const Program& program, const Ops& ops, const Fusion& fusion) {
  const Op& replay = ops[fusion.first];
  Ops staying, moving = {of_by_product(replay, fusion.s())};
  for (size_t i = fusion.first + 1; i <= fusion.last; ++i) {
    const bool reader = i < fusion.last && reads(ops[i], fusion.s());
    if (reader && !movable(ops[i], replay)) return std::nullopt;
    const auto stands_against = [&](const Op& op) { return conflict(program, op, ops[i]); };
    if (!reader && std::ranges::any_of(moving, stands_against)) return std::nullopt;
    (reader ? moving : staying).push_back(ops[i]);
  }
  staying.back() = fusion.fused;
  staying.insert(staying.end(), moving.begin() + 1, moving.end());
  return staying;
}

}  // namespace

std::optional<ByProduct> find_by_product(std::span<const Op> ops, const Op& replay) {
  for (size_t i = 0; i < ops.size(); ++i) {
    if (ops[i].layer != replay.layer || ops[i].stage != Stage::backward) continue;
    if (auto fused = with_by_product(ops[i], replay)) return ByProduct{i, *std::move(fused)};
  }
  return std::nullopt;
}

Program fuse_replays(Program program) {
  Section* micro = program.find_section("micro");
  CHECK(micro != nullptr, "there is no micro-batch whose replays could be fused");
  for (size_t i = micro->ops.size(); i-- > 0;) {
    const auto fusion = fusion_of(micro->ops, i);
    if (!fusion || !can_share(program, micro->ops, *fusion)) continue;
    const auto ops = rewritten(program, micro->ops, *fusion);
    if (!ops) continue;
    const auto at = micro->ops.erase(micro->ops.begin() + static_cast<std::ptrdiff_t>(i));
    std::ranges::copy(*ops, at);
    program.buffer(fusion->ds()).view = View{fusion->s(), 0};
  }
  return program;
}

}  // namespace centavo
