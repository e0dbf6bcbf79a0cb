#include "passes/sections.h"

#include <gtest/gtest.h>

#include <cmath>

#include "program/text.h"
#include "program/verify.h"
#include "tests/support/models.h"
#include "tests/support/op_check.h"

namespace centavo::testing {
namespace {

// Adds up what the host puts into `x`, one number a micro-batch, and counts.
Program adder(int64_t micro_batches, GradSum grad_sum) {
  const Program program = parse(fmt::format(R"(
centavo 1
buffer micro_step i64[1] control persistent
buffer x f32[1] stream_in ring=micro_step/{}
buffer one f32[1] parameter persistent
buffer sum f32[1] gradient
buffer total f32[1] stream_out
section micro
  %1 sum = add(x, one) | backward
section update
  %2 total = copy(sum) | update
step micro update
)",
                                            micro_batches));
  return sections(program, test_ops(), micro_batches, grad_sum);
}

float run_adder(const std::vector<float>& values, GradSum grad_sum) {
  const auto n = static_cast<int64_t>(values.size());
  const auto machine = machine_for(adder(n, grad_sum));
  for (int64_t i = 0; i < n; ++i) {
    machine->write("x", std::as_bytes(std::span(&values[static_cast<size_t>(i)], 1)), i);
  }
  machine->step();
  return static_cast<float>(get_tensor(*machine, "total")[0]);
}

// By the definition: a complete binary tree, what is missing left out.
float tree_of(std::span<const float> values) {
  if (values.size() == 1) return values[0];
  const size_t half = std::bit_ceil(values.size()) / 2;
  return tree_of(values.subspan(0, half)) + tree_of(values.subspan(half));
}

std::vector<float> numbers(int64_t n) {
  std::vector<float> values;
  for (int64_t i = 0; i < n; ++i) values.push_back(static_cast<float>(std::sin(static_cast<double>(3 * i + 1))));
  return values;
}

TEST(Sections, AChainAddsInOrder) {
  for (int64_t n = 1; n <= 9; ++n) {
    const std::vector<float> values = numbers(n);
    float expected = values[0];
    for (size_t i = 1; i < values.size(); ++i) expected += values[i];
    EXPECT_EQ(run_adder(values, GradSum::chain), expected) << n;
  }
}

TEST(Sections, ATreeIsATree) {
  bool differs = false;
  for (int64_t n = 1; n <= 21; ++n) {
    const std::vector<float> values = numbers(n);
    EXPECT_EQ(run_adder(values, GradSum::tree), tree_of(values)) << n;
    differs = differs || run_adder(values, GradSum::chain) != tree_of(values);
  }
  EXPECT_TRUE(differs) << "the orders give the same bits: these numbers show nothing";
}

std::vector<std::string> step_of(const Program& program) {
  std::vector<std::string> names;
  for (const Call& call : program.step) names.push_back(fmt::format("{}*{}", call.section, call.times));
  return names;
}

TEST(Sections, OneTextForEachNumberOfCarries) {
  EXPECT_EQ(step_of(adder(1, GradSum::tree)), (std::vector<std::string>{"only*1", "update*1"}));
  EXPECT_EQ(step_of(adder(4, GradSum::tree)),
            (std::vector<std::string>{"first*1", "leaf1*1", "leaf0*1", "last*1", "update*1"}));
  EXPECT_EQ(adder(64, GradSum::tree).sections.size(), 9u);  // first, leaf0 to leaf5, last, update
  EXPECT_EQ(step_of(adder(5, GradSum::chain)), (std::vector<std::string>{"first*1", "middle*3", "last*1", "update*1"}));
}

TEST(Sections, OpsOfTheUpdateRunInTheLastMicroBatchOnly) {
  for (const GradSum grad_sum : {GradSum::chain, GradSum::tree}) {
    Program program = adder(3, grad_sum);
    int64_t advances = 0;
    for (const Section& section : program.sections) {
      for (const Op& op : section.ops) advances += op.kind == "advance" ? 1 : 0;
    }
    EXPECT_EQ(advances, static_cast<int64_t>(program.sections.size()) - 1) << "every micro-batch turns its rings";
    verify(program, test_ops());
  }
}

}  // namespace
}  // namespace centavo::testing
