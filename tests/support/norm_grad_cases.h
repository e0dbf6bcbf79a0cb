// The gradients of both norms with h as well, beside the ops whose bits they must have, for the tests of both devices.
#pragma once

#include <gtest/gtest.h>

#include <cstring>

#include "ops/layernorm/layernorm.h"
#include "ops/rmsnorm/rmsnorm.h"
#include "tests/support/op_check.h"

namespace centavo::testing {

struct NormGrad {
  std::string norm;  // "rmsnorm" or "layernorm"
  int64_t rows;
  int64_t columns;
  bool has_dsum = true;
  bool has_dweight = true;
};

// The two ops apart; both in one; both in one with h in the place of dh.
inline Forward norm_grad_three_times(const NormGrad& f) {
  return [=](Builder& b) {
    const bool centred = f.norm == "layernorm";
    const Shape shape = {f.rows, f.columns};
    const BufferId sum = b.parameter("sum", shape);
    const BufferId dh = b.parameter("dh", shape);
    const BufferId dsum = f.has_dsum ? b.parameter("dsum", shape) : kNone;
    const BufferId weight = b.parameter("weight", {f.columns});
    const BufferId bias = centred ? b.parameter("bias", {f.columns}) : kNone;
    centred ? layernorm(b, "h", sum, kNone, weight, bias, 1e-5).h : rmsnorm(b, "h", sum, kNone, weight, 1e-5).h;
    const auto call = [&](const std::string& where, BufferId from, const Into& h, BufferId its_bias) {
      std::vector<BufferId> inputs = {from, dsum, sum, weight};
      if (centred) inputs.push_back(b.program.find("h.mean"));
      inputs.push_back(b.program.find("h.rstd"));
      std::vector<Into> outputs = {"dx" + where};
      for (const char* name : {"dweight", "dbias"}) {
        if (!centred && name == std::string("dbias")) continue;
        const Buffer gradient{.name = name + where, .dtype = b.compute(), .shape = {f.columns}};
        outputs.push_back(f.has_dweight ? Into(b.program.add(gradient)) : Into());
      }
      if (centred) inputs.push_back(its_bias);
      outputs.push_back(h);
      b.call(f.norm + "_grad", inputs, outputs);
    };
    call("", dh, Into(), kNone);
    call(".beside", dh, "h.beside", bias);
    const BufferId d = b.call("copy", {dh}, {"d"})[0];
    Buffer h = b.program.buffer(d);
    h.name = "h.in_place";
    h.view = View{d, 0};
    call(".in_place", d, b.program.add(std::move(h)), bias);
  };
}

inline void expect_same_norm_grads(const Tensors& results) {
  int compared = 0;
  for (const std::string name : {"h", "dx", "dweight", "dbias"}) {
    if (!results.contains(name)) continue;
    for (const std::string where : {".beside", ".in_place"}) {
      const std::vector<double>& values = results.at(name + where);
      EXPECT_EQ(std::memcmp(results.at(name).data(), values.data(), values.size() * sizeof(double)), 0) << name + where;
      ++compared;
    }
  }
  EXPECT_GE(compared, 4);
}

// The ops of norm_grad_three_times: the norm, its gradient, the gradient with h.
inline void expect_with_h(const NormGrad& f, std::optional<Op> (*with_h)(const Op&, const Op&)) {
  const Program p = build(norm_grad_three_times(f));
  const std::vector<Op>& ops = p.sections[0].ops;
  Op expected = ops[2];
  expected.id = expected.logical = ops[1].id;
  expected.outputs = ops[1].outputs;
  expected.outputs.resize(ops[2].outputs.size() - 1);
  expected.outputs.push_back(ops[0].outputs[0]);
  EXPECT_EQ(with_h(ops[1], ops[0]), expected);
  EXPECT_EQ(with_h(ops[2], ops[0]), std::nullopt) << "it writes one already";
  EXPECT_EQ(with_h(ops[0], ops[0]), std::nullopt);
  EXPECT_EQ(with_h(ops[1], ops[1]), std::nullopt);
  for (const size_t input : {0, 2}) {
    Op other = ops[0];
    other.inputs[input] = p.find("dh");
    EXPECT_EQ(with_h(ops[1], other), std::nullopt) << "of another sum, or with another weight";
  }
  Op adds = ops[0];
  adds.inputs[1] = p.find("dh");
  EXPECT_EQ(with_h(ops[1], adds), std::nullopt);
  Op other = ops[0];
  other.outputs[1].buffer = p.find("dh");
  EXPECT_EQ(with_h(ops[1], other), std::nullopt) << "with other statistics";
}

}  // namespace centavo::testing
