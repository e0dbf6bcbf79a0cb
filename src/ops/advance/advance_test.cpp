#include "ops/advance/advance.h"

#include <gtest/gtest.h>

#include "tests/support/op_check.h"

namespace centavo::testing {
namespace {

TEST(Advance, Counts) {
  const Forward once = [](Builder& b) { advance(b, b.control("counter", DType::i64, {1}, true)); };
  EXPECT_EQ(run_step(build(once), {{"counter", {41}}}).at("counter")[0], 42);
  EXPECT_EQ(run_step(build(once), {}).at("counter")[0], 1);  // persistent buffers start at zero

  const Forward twice = [](Builder& b) {
    const BufferId counter = b.control("counter", DType::i64, {1}, true);
    advance(b, counter);
    advance(b, counter);
  };
  EXPECT_EQ(run_step(build(twice), {{"counter", {0x1p40}}}).at("counter")[0], 0x1p40 + 2);
}

TEST(Advance, RejectsOperands) {
  expect_shape_error([](Builder& b) { advance(b, b.control("counter", DType::i64, {2}, true)); },
                     "counter must be [1]");
  expect_shape_error(
      [](Builder& b) {
        const BufferId from = b.control("from", DType::i64, {1}, true);
        b.call("advance", {from}, {b.control("to", DType::i64, {1}, true)});
      },
      "must write the counter it reads");
}

}  // namespace
}  // namespace centavo::testing
