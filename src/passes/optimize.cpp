#include "passes/optimize.h"

#include "ops/adamw/adamw.h"
#include "ops/advance/advance.h"
#include "ops/clip/clip.h"
#include "ops/sqnorm/sqnorm.h"
#include "program/builder.h"

namespace centavo {
namespace {

constexpr int64_t kStepSlots = 2;  // steps the host may be ahead, plus one

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
                      .persistent = true});
}

// One window of `partials` for each gradient, in the order of the parameters.
BufferId append_norms(Builder& b, const std::vector<BufferId>& parameters) {
  int64_t blocks = 0;
  for (const BufferId parameter : parameters) blocks += norm_blocks(b.program.buffer(parameter).elements());
  const BufferId partials = b.program.add({.name = "partials", .shape = {blocks}});
  int64_t offset = 0;
  for (const BufferId parameter : parameters) {
    const int64_t count = norm_blocks(b.program.buffer(parameter).elements());
    const BufferId window = b.program.add(
        {.name = "partials." + b.program.buffer(parameter).name, .shape = {count}, .view = View{partials, offset}});
    sqnorm(b, gradient_of(b.program, parameter), Into(window));
    offset += count;
  }
  return partials;
}

}  // namespace

Program optimize(Program program, const OpTable& ops, const OptimizerSettings& settings) {
  Builder b(ops, std::move(program), "update", Stage::update);
  const BufferId step = b.program.find("step");
  CHECK(step != kNone, "the program has no step counter");
  const BufferId lr = b.stream_in("lr", DType::f32, {1}, step, kStepSlots);
  const BufferId metrics = b.stream_out("metrics", DType::f32, {4}, step, kStepSlots);
  const std::vector<BufferId> parameters = trainable_parameters(b.program);
  const BufferId partials = append_norms(b, parameters);
  const Clipped clipped = clip(b, {partials, b.program.find("loss"), b.program.find("count")},
                               {Into("scale"), Into("finite"), Into(metrics)}, settings.clip_norm);
  for (const BufferId w : parameters) {
    const bool decays = b.program.buffer(w).shape.size() > 1;
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
           .weight_decay = decays ? settings.weight_decay : 0.0});
  }
  advance(b, step);
  return std::move(b.program);
}

}  // namespace centavo
