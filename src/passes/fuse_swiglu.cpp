#include "passes/fuse_swiglu.h"

#include <algorithm>
#include <optional>
#include <span>

#include "base/errors.h"
#include "ops/linear_swiglu/linear_dx_swiglu_grad.h"
#include "ops/linear_swiglu/linear_swiglu.h"
#include "program/access.h"
#include "program/references.h"

namespace centavo {
namespace {

using Ops = std::vector<Op>;

// Is this activation in the hands of two ops alone, and none looks at its memory through a view? It may be a view
// itself: of s, which the second op writes in its place.
bool passed_on(const Program& program, BufferId ds, const Op& second) {
  const Buffer& b = program.buffer(ds);
  if (b.kind != BufferKind::activation) return false;
  if (b.view && (second.outputs.size() < 2 || b.view->parent != second.outputs[1].buffer)) return false;
  const auto window = [&](const Buffer& other) { return other.view && other.view->parent == ds; };
  if (std::ranges::any_of(program.buffers, window)) return false;
  int64_t users = 0;
  for (const Section& section : program.sections) {
    users += std::ranges::count_if(section.ops, [&](const Op& op) { return uses(op, ds); });
  }
  return users == 2;
}

struct Pair {
  size_t linear_dx;
  Op fused;
};

// The linear_dx of ops[grad], if it may move down to there.
std::optional<Pair> pair_of(const Program& program, const Ops& ops, size_t grad) {
  for (size_t i = grad; i-- > 0;) {
    auto fused = linear_dx_swiglu_grad_of(ops[i], ops[grad]);
    if (!fused) continue;
    const auto stands_against = [&](const Op& op) { return conflict(program, ops[i], op); };
    const auto between = std::span(ops).subspan(i + 1, grad - i - 1);
    const bool fits =
        passed_on(program, ops[grad].inputs[0], ops[grad]) && std::ranges::none_of(between, stands_against);
    return fits ? std::optional(Pair{i, *std::move(fused)}) : std::nullopt;
  }
  return std::nullopt;
}

}  // namespace

Program fuse_swiglu(Program program) {
  for (Section& section : program.sections) {
    Ops ops;
    for (Op& op : section.ops) {
      auto both = ops.empty() ? std::nullopt : linear_swiglu_of(ops.back(), op);
      if (both) {
        CHECK(ops.back().after.empty() && op.after.empty(), "ops with edges are fused");
        ops.back() = *std::move(both);
      } else {
        ops.push_back(std::move(op));
      }
    }
    section.ops = std::move(ops);
  }
  return program;
}

Program fuse_swiglu_grad(Program program) {
  for (Section& section : program.sections) {
    Ops& ops = section.ops;
    for (size_t i = ops.size(); i-- > 0;) {
      auto pair = ops[i].kind == "swiglu_grad" ? pair_of(program, ops, i) : std::nullopt;
      if (!pair) continue;
      CHECK(ops[pair->linear_dx].after.empty() && ops[i].after.empty(), "ops with edges are fused");
      const BufferId ds = ops[i].inputs[0];
      ops[i] = std::move(pair->fused);
      ops.erase(ops.begin() + static_cast<std::ptrdiff_t>(pair->linear_dx));
      remove(program, ds);
    }
  }
  return program;
}

}  // namespace centavo
