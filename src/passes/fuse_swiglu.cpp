#include "passes/fuse_swiglu.h"

#include "ops/linear_swiglu/linear_swiglu.h"

namespace centavo {

Program fuse_swiglu(Program program) {
  for (Section& section : program.sections) {
    std::vector<Op> ops;
    for (Op& op : section.ops) {
      auto both = ops.empty() ? std::nullopt : linear_swiglu_of(ops.back(), op);
      if (both) {
        ops.back() = *std::move(both);
      } else {
        ops.push_back(std::move(op));
      }
    }
    section.ops = std::move(ops);
  }
  return program;
}

}  // namespace centavo
