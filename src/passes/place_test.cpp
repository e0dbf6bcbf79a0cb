#include "passes/place.h"

#include <gtest/gtest.h>

#include "ops/all.h"
#include "program/text.h"

namespace centavo {
namespace {

// `advance` with scratch that tells its machine.
OpTable table() {
  std::vector<OpDef> rows = all_ops().rows();
  for (OpDef& row : rows) {
    if (row.kind != "advance") continue;
    row.cpu_workspace_bytes = [](const OpView&, const CpuTraits& traits) -> int64_t { return 100 * traits.threads; };
    row.cuda_workspace_bytes = [](const OpView&, const CudaTraits& traits) -> int64_t {
      return 1000 * traits.architecture + (traits.deterministic ? 1 : 0);
    };
  }
  return OpTable(std::move(rows));
}

int64_t planned_bytes(const MachineTraits& traits) {
  const Program program = parse(
      "centavo 1\nranks 1\nbuffer step i64[1] control persistent\nsection only\n  %1 step = advance(step)\n"
      "step only\n");
  const Program planned = add_workspaces(program, table(), traits);
  const BufferId workspace = planned.sections[0].ops[0].workspace;
  return workspace == kNone ? 0 : planned.buffer(workspace).bytes();
}

TEST(Workspaces, AreThoseOfTheMachine) {
  EXPECT_EQ(planned_bytes(CpuTraits{1}), 100);
  EXPECT_EQ(planned_bytes(CpuTraits{2}), 200);
  EXPECT_EQ(planned_bytes(CudaTraits{}), 90000);
  EXPECT_EQ(planned_bytes(CudaTraits{.architecture = 100, .deterministic = true}), 100001);
}

}  // namespace
}  // namespace centavo
