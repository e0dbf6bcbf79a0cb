// Calls of lm_head_loss and its gradient, for the tests of their kernels.
#pragma once

#include <string>

#include "ops/lm_head_loss/lm_head_loss.h"
#include "tests/support/op_check.h"

namespace centavo::testing {

struct Sizes {
  int64_t tokens, columns, vocab, chunk;
};

inline Forward plain(const Sizes& s) {
  return [=](Builder& b) {
    lm_head_loss(b, b.parameter("h", {s.tokens, s.columns}), b.parameter("weight", {s.vocab, s.columns}),
                 b.stream_in("targets", DType::i32, {s.tokens}), s.chunk, "loss", "count");
  };
}

// The backward op itself, with dweight of dtype `gradient`, `calls` times: the first writes, the others add.
inline Forward swept(const Sizes& s, DType gradient, int calls = 1) {
  return [=](Builder& b) {
    const BufferId h = b.parameter("h", {s.tokens, s.columns});
    const BufferId weight = b.parameter("weight", {s.vocab, s.columns});
    const BufferId targets = b.stream_in("targets", DType::i32, {s.tokens});
    const BufferId dweight = b.program.add({.name = "dweight",
                                            .dtype = b.compute() == DType::f64 ? DType::f64 : gradient,
                                            .shape = {s.vocab, s.columns},
                                            .kind = BufferKind::gradient});
    const BufferId loss = b.control("loss", accumulator_of(b.compute()), {1});
    const BufferId count = b.control("count", DType::i32, {1});
    for (int i = 0; i < calls; ++i) {
      const Bind bind = i == 0 ? Bind::write : Bind::add;
      b.call("lm_head_loss_grad", {h, weight, targets},
             {Into(loss, bind), Into(count, bind), "dh" + std::to_string(i), Into(dweight, bind)},
             {{"chunk", s.chunk}});
    }
  };
}

}  // namespace centavo::testing
