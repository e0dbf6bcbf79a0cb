#include "tests/support/golden_run.h"

#include <gtest/gtest.h>

#include "passes/differentiate.h"
#include "passes/precision.h"
#include "tests/support/models.h"
#include "tests/support/op_check.h"

namespace centavo::testing {

Program with_logits(Program forward) {
  const Op& loss = forward.sections[0].ops.back();
  Op logits;
  logits.id = logits.logical = forward.next_op_id();
  logits.kind = "linear";
  logits.inputs = {loss.inputs[0], loss.inputs[1]};
  logits.attributes = {{"scale", 1.0}};
  logits.outputs = {{forward.add({.name = "logits", .shape = {24, 61}, .kind = BufferKind::stream_out}), Bind::write}};
  forward.sections[0].ops.push_back(logits);
  return forward;
}

std::unique_ptr<CpuMachine> run_golden(Program forward, const SafetensorsFile& golden, const std::string& policy) {
  Program program = differentiate(std::move(forward), test_ops());
  auto machine = machine_for(precision(std::move(program), test_ops(), precision_policy(policy)),
                             {.threads = 2, .debug = true, .share_addresses = false});
  load(*machine, golden, "in/");
  load(*machine, golden, "w/");
  machine->step();
  return machine;
}

void expect_golden_gradients(const CpuMachine& machine, const SafetensorsFile& golden, double bound) {
  for (const Buffer& b : machine.program().buffers) {
    if (b.kind != BufferKind::parameter) continue;
    EXPECT_LT(relative_norm(get_tensor(machine, b.name + ".grad"), golden_values(golden, "g/" + b.name)), bound)
        << b.name;
  }
}

}  // namespace centavo::testing
