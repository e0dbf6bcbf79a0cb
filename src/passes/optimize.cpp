#include "passes/optimize.h"

#include "ops/adamw/adamw.h"
#include "ops/advance/advance.h"
#include "ops/clip/clip.h"
#include "ops/sqnorm/sqnorm.h"
#include "ops/tree_sum/tree_sum.h"
#include "passes/units.h"
#include "program/builder.h"

namespace centavo {
namespace {

constexpr int64_t kStepSlots = 2;  // steps the host may be ahead, plus one

// Units, or single parameters where there are none.
std::vector<BufferId> trainable_parameters(const Program& program) {
  std::vector<BufferId> result;
  for (size_t i = 0; i < program.buffers.size(); ++i) {
    if (program.buffers[i].trainable) result.push_back(static_cast<BufferId>(i));
  }
  return result;
}

BufferId gradient_of(const Program& program, BufferId parameter) {
  const std::string name = program.buffer(parameter).name + ".grad";
  const BufferId gradient = program.find(name);
  CHECK(gradient != kNone, "{} is missing; differentiate first", name);
  return gradient;
}

BufferId state(Program& program, BufferId parameter, const char* suffix) {
  const Buffer& weight = program.buffer(parameter);
  return program.add({.name = weight.name + suffix,
                      .dtype = weight.dtype,
                      .shape = weight.shape,
                      .kind = BufferKind::optimizer_state,
                      .persistent = true,
                      .layout = tensors_of(program, parameter).empty() ? kNone : parameter});
}

// The squared norm of each gradient: its blocks in a window of `partials`, their sum in a window of the result.
BufferId append_norms(Builder& b, const std::vector<BufferId>& parameters) {
  const auto blocks_of = [&](BufferId w) {
    const int64_t n = b.program.buffer(w).elements();
    return norm_blocks(n, norm_block_of(n));
  };
  int64_t blocks = 0;
  for (const BufferId w : parameters) blocks += blocks_of(w);
  const BufferId partials = b.program.add({.name = "partials", .shape = {blocks}});
  const BufferId norms = b.program.add({.name = "grad_norms", .shape = {static_cast<int64_t>(parameters.size())}});
  const auto window = [&](BufferId parent, BufferId w, int64_t offset, int64_t count) {
    const std::string name = fmt::format("{}.{}", b.program.buffer(parent).name, b.program.buffer(w).name);
    return b.program.add({.name = name, .shape = {count}, .view = View{parent, offset}});
  };
  int64_t offset = 0;
  for (const BufferId w : parameters) {
    const int64_t block = norm_block_of(b.program.buffer(w).elements());
    sqnorm(b, gradient_of(b.program, w), Into(window(partials, w, offset, blocks_of(w))), block);
    offset += blocks_of(w);
  }
  offset = 0;
  for (size_t i = 0; i < parameters.size(); ++i) {
    const BufferId w = parameters[i];
    tree_sum(b, partials, Into(window(norms, w, static_cast<int64_t>(i), 1)),
             {.parts = 1, .stride = 0, .begin = offset, .count = blocks_of(w)});
    offset += blocks_of(w);
  }
  return norms;
}

}  // namespace

Program optimize(Program program, const OpTable& ops, const OptimizerSettings& settings) {
  Builder b(ops, std::move(program), "update", Stage::update);
  const BufferId step = b.program.find("step");
  CHECK(step != kNone, "the program has no step counter");
  const BufferId lr = b.stream_in("lr", DType::f32, {1}, step, kStepSlots);
  const BufferId metrics = b.stream_out("metrics", DType::f32, {4}, step, kStepSlots);
  const std::vector<BufferId> parameters = trainable_parameters(b.program);
  const BufferId norms = append_norms(b, parameters);
  const Clipped clipped = clip(b, {norms, b.program.find("loss"), b.program.find("count")},
                               {Into("scale"), Into("finite"), Into(metrics)}, settings.clip_norm);
  for (const BufferId w : parameters) {
    adamw(b,
          {.w = w,
           .g = gradient_of(b.program, w),
           .m = state(b.program, w, ".m"),
           .v = state(b.program, w, ".v"),
           .scale = clipped.scale,
           .finite = clipped.finite,
           .lr = lr,
           .step = step},
          {.beta1 = settings.beta1,
           .beta2 = settings.beta2,
           .eps = settings.eps,
           // Matrices decay, vectors do not.
           .weight_decay = holds_vectors(b.program, w) ? 0.0 : settings.weight_decay});
  }
  advance(b, step);
  return std::move(b.program);
}

}  // namespace centavo
