#include "train/step_program.h"

#include <algorithm>
#include <functional>

#include "base/nearest.h"
#include "passes/differentiate.h"
#include "passes/optimize.h"
#include "passes/place.h"
#include "passes/precision.h"
#include "passes/sections.h"
#include "passes/units.h"

namespace centavo {
namespace {

struct NamedPass {
  std::string name;
  std::function<Program(Program)> run;
};

// Every token may begin a document.
BatchShape packed_batch(const RunConfig& c, int64_t slots) {
  return {.sequences = c.micro_batch, .seq_len = c.seq_len, .max_docs = c.micro_batch * c.seq_len, .slots = slots};
}

std::vector<NamedPass> training_passes(const OpTable& ops, const RunConfig& c, int threads) {
  const BatchShape batch = packed_batch(c, token_slots(c));
  const OptimizerSettings optimizer{c.beta1, c.beta2, c.eps, c.weight_decay, c.clip_norm};
  const auto policy = [&c] { return precision_policy(c.precision); };
  return {
      {"forward", [&, batch](Program) { return training_forward(ops, c.model, batch, c.loss_chunk); }},
      {"differentiate", [&](Program p) { return differentiate(std::move(p), ops); }},
      {"units", [](Program p) { return units(std::move(p)); }},
      {"optimize", [&, optimizer](Program p) { return optimize(std::move(p), ops, optimizer); }},
      {"precision", [&, policy](Program p) { return precision(std::move(p), ops, policy()); }},
      {"sections", [&](Program p) { return sections(std::move(p), ops, c.grad_accum_steps); }},
      {"workspaces", [&, threads](Program p) { return add_cpu_workspaces(std::move(p), ops, {threads}); }},
      {"place", [](Program p) { return place(std::move(p)); }},
  };
}

Program placed_for(const Inference& inference, const OpTable& ops, Program program) {
  // Weights that are another machine's lie as they lie there.
  if (inference.borrowed.contains(BufferKind::parameter)) program = units(std::move(program));
  program = precision(std::move(program), ops, precision_policy(inference.precision));
  program = add_cpu_workspaces(std::move(program), ops, {inference.threads});
  return place(std::move(program), {.red_zone_bytes = 0, .borrow = inference.borrowed});
}

}  // namespace

const std::vector<std::string>& pass_names() {
  static const std::vector<std::string> names = {"forward",   "differentiate", "units",      "optimize",
                                                 "precision", "sections",      "workspaces", "place"};
  return names;
}

int64_t token_slots(const RunConfig& config) { return 2 * config.grad_accum_steps; }

Program training_program(const OpTable& ops, const RunConfig& config, int threads, const std::string& last) {
  if (std::ranges::find(pass_names(), last) == pass_names().end()) {
    user_error("there is no pass '{}'; the passes are {}{}", last, fmt::join(pass_names(), ", "),
               did_you_mean(last, pass_names()));
  }
  Program program;
  for (const NamedPass& pass : training_passes(ops, config, threads)) {
    program = pass.run(std::move(program));
    if (pass.name == last) break;
  }
  return program;
}

Program evaluation_program(const OpTable& ops, const ModelConfig& model, const Inference& inference,
                           const BatchShape& batch, int64_t loss_chunk) {
  return placed_for(inference, ops, evaluation(ops, model, batch, loss_chunk));
}

Program validation_program(const OpTable& ops, const RunConfig& c, int threads) {
  return evaluation_program(ops, c.model, {c.precision, threads, {BufferKind::parameter}}, packed_batch(c, 1),
                            c.loss_chunk);
}

Program decoding_program(const OpTable& ops, const ModelConfig& model, const Inference& inference, int64_t new_tokens,
                         int64_t max_len) {
  return placed_for(inference, ops, decoding(ops, model, 1, new_tokens, max_len));
}

}  // namespace centavo
