// Calls of adamw, for the tests of its kernels.
#pragma once

#include "ops/adamw/adamw.h"
#include "tests/support/op_check.h"

namespace centavo::testing {

struct Types {
  DType w, g, m, v;
  bool master = false;
};

constexpr double kLr = 1.0 / 128;

inline Forward of(const Types& types, int64_t n, const AdamWSettings& settings) {
  return [=](Builder& b) {
    const auto state = [&](const char* name, DType dtype, BufferKind kind) {
      return b.program.add({.name = name, .dtype = dtype, .shape = {n}, .kind = kind, .persistent = true});
    };
    const AdamWOperands operands = {
        .w = state("w", types.w, BufferKind::parameter),
        .g = b.stream_in("g", types.g, {n}),
        .m = state("m", types.m, BufferKind::optimizer_state),
        .v = state("v", types.v, BufferKind::optimizer_state),
        .master = types.master ? state("master", DType::f32, BufferKind::optimizer_state) : kNone,
        .scale = b.stream_in("scale", DType::f32, {1}),
        .finite = b.stream_in("finite", DType::i32, {1}),
        .lr = b.stream_in("lr", DType::f32, {1}),
        .step = b.stream_in("step", DType::i64, {1}),
        .seed = settings.rounding == "stochastic" ? b.stream_in("seed", DType::i64, {1}) : kNone};
    adamw(b, operands, settings);
  };
}

}  // namespace centavo::testing
