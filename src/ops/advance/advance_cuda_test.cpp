#include <gtest/gtest.h>

#include "ops/advance/advance.h"
#include "tests/support/cuda_check.h"

namespace centavo::testing {
namespace {

TEST(AdvanceCuda, Counts) {
  NEEDS_GPU();
  const Forward twice = [](Builder& b) {
    const BufferId counter = b.control("counter", DType::i64, {1}, true);
    advance(b, counter);
    advance(b, counter);
  };
  EXPECT_EQ(run_step_cuda(build(twice), {{"counter", {0x1p40}}}).at("counter")[0], 0x1p40 + 2);
  EXPECT_EQ(run_step_cuda(build(twice), {{"counter", {-1}}}).at("counter")[0], 1);
  EXPECT_EQ(run_step_cuda(build(twice), {}, {.replayed = true}).at("counter")[0], 4) << "two steps from zero";
}

}  // namespace
}  // namespace centavo::testing
