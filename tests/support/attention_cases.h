// Calls of attention, for the tests of its kernels.
#pragma once

#include <string>
#include <vector>

#include "ops/attention/attention.h"
#include "tests/support/op_check.h"

namespace centavo::testing {

// Documents by their borders; tokens outside them are padding.
struct Case {
  int64_t tokens = 0;
  AttentionShape shape;
  int64_t head_size = 1;
  std::vector<double> cu_seqlens;

  int64_t columns() const { return (shape.heads + 2 * shape.kv_heads) * head_size; }
  int64_t documents() const { return static_cast<int64_t>(cu_seqlens.size()) - 1; }
  int64_t group() const { return shape.heads / shape.kv_heads; }
};

inline Forward attention_of(const Case& c) {
  return [=](Builder& b) {
    const BufferId cu = b.stream_in("cu_seqlens", DType::i32, {c.documents() + 1});
    attention(b, "y", b.parameter("qkv", {c.tokens, c.columns()}), cu, c.shape);
  };
}

// Forward and backward as ops, so that dqkv can be compared over dtypes and padding looked at.
inline Forward both_ways(const Case& c) {
  return [=](Builder& b) {
    const BufferId cu = b.stream_in("cu_seqlens", DType::i32, {c.documents() + 1});
    const BufferId qkv = b.parameter("qkv", {c.tokens, c.columns()});
    const BufferId dy = b.parameter("dy", {c.tokens, c.shape.heads * c.head_size});
    const BufferId y = attention(b, "y", qkv, cu, c.shape);
    b.call("attention_grad", {dy, qkv, y, b.program.find("y.lse"), cu}, {"dqkv"},
           {{"heads", c.shape.heads},
            {"kv_heads", c.shape.kv_heads},
            {"max_seqlen", c.shape.max_seqlen},
            {"uniform", int64_t{c.shape.uniform}},
            {"window", c.shape.window}});
  };
}

}  // namespace centavo::testing
