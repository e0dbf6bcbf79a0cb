// linear_dx_swiglu_grad beside the two ops whose bits it must have, for the tests of both devices.
#pragma once

#include <gtest/gtest.h>

#include "tests/support/op_check.h"

namespace centavo::testing {

struct GradSize {
  int64_t n, c, f;
};

inline std::string text_of(const GradSize& s) { return fmt::format("[{}, {}] to {}", s.n, s.c, s.f); }

// Without s and with it; the two ops apart.
inline Forward linear_dx_swiglu_grad_ways(GradSize size) {
  return [=](Builder& b) {
    const BufferId dy = b.parameter("dy", {size.n, size.c});
    const BufferId weight = b.parameter("weight", {size.c, size.f});
    const BufferId gate_up = b.parameter("gate_up", {size.n, 2 * size.f});
    b.call("linear_dx_swiglu_grad", {dy, weight, gate_up}, {"dgate_up"});
    b.call("linear_dx_swiglu_grad", {dy, weight, gate_up}, {"dgate_up.with_s", "s"});
    const BufferId ds = b.call("linear_dx", {dy, weight}, {"ds"}, {{"scale", 1.0}})[0];
    b.call("swiglu_grad", {ds, gate_up}, {"dgate_up.alone"});
    b.call("swiglu_grad", {ds, gate_up}, {"dgate_up.apart", "s.apart"});
  };
}

inline void expect_bits_of_the_two_ops(const Tensors& out) {
  EXPECT_EQ(out.at("dgate_up"), out.at("dgate_up.apart"));
  EXPECT_EQ(out.at("dgate_up.with_s"), out.at("dgate_up.apart"));
  EXPECT_EQ(out.at("s"), out.at("s.apart"));
}

}  // namespace centavo::testing
