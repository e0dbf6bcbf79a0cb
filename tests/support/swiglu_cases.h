// swiglu_grad with its second output beside the ops whose bits it must have, for the tests of both devices.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "ops/swiglu/swiglu.h"
#include "tests/support/op_check.h"

namespace centavo::testing {

// The two ops apart; both in one; both in one with s in the place of ds.
inline Forward swiglu_grad_three_times(int64_t rows, int64_t columns) {
  return [=](Builder& b) {
    const BufferId ds = b.parameter("ds", {rows, columns});
    const BufferId gate_up = b.parameter("gate_up", {rows, 2 * columns});
    swiglu(b, "s", gate_up);
    b.call("swiglu_grad", {ds, gate_up}, {"dgate_up"});
    b.call("swiglu_grad", {ds, gate_up}, {"dgate_up.beside", "s.beside"});
    const BufferId d = b.call("copy", {ds}, {"d"})[0];
    Buffer s = b.program.buffer(d);
    s.name = "s.in_place";
    s.view = View{d, 0};
    b.call("swiglu_grad", {d, gate_up}, {"dgate_up.in_place", b.program.add(std::move(s))});
  };
}

// Random ones, and gates far from zero.
inline std::vector<Tensors> swiglu_grad_inputs(int64_t rows, int64_t columns) {
  std::vector<Tensors> inputs(2, random_inputs(build(swiglu_grad_three_times(rows, columns)), 4.0));
  const std::vector<double> far = {-1e30, -200, -90, -87, -0.0, 0, 90, 200, 1e30, 1, 3};
  std::vector<double>& values = inputs[1]["gate_up"];
  for (size_t i = 0; i < values.size(); ++i) values[i] = far[i % far.size()];
  return inputs;
}

inline void expect_same_swiglu_grads(const Tensors& results) {
  for (const std::string name : {"s", "dgate_up"}) {
    for (const std::string where : {".beside", ".in_place"}) {
      const std::vector<double>& values = results.at(name + where);
      EXPECT_EQ(std::memcmp(results.at(name).data(), values.data(), values.size() * sizeof(double)), 0) << name + where;
    }
  }
}

}  // namespace centavo::testing
