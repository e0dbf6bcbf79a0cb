// A micro-batch and an update as the pass recompute finds them, for its tests.
#pragma once

#include <optional>
#include <string>

#include "passes/differentiate.h"
#include "passes/optimize.h"
#include "passes/place.h"
#include "passes/precision.h"
#include "passes/recompute.h"
#include "passes/sections.h"
#include "tests/support/models.h"

namespace centavo::testing {

struct Setting {
  std::string name;
  ModelConfig model;
  BatchShape batch;
  std::string precision = "fp32";
  std::optional<LoraSettings> lora = std::nullopt;
  int64_t loss_chunk = 32;
};

inline Setting four_layers() {
  Setting s{.name = "llama",
            .model = golden_model(true),
            .batch = {.sequences = 2, .seq_len = 32, .slots = 4},
            .precision = "bf16"};
  s.model.num_hidden_layers = 4;
  s.model.intermediate_size = 96;
  return s;
}

// The micro-batch and the update as recompute finds them.
inline Program before_recompute(const Setting& s) {
  Program p = training_forward(test_ops(), s.model, s.batch, s.loss_chunk, {.caches = {}, .lora = s.lora});
  p = optimize(differentiate(std::move(p), test_ops()), test_ops(), {});
  return precision(std::move(p), test_ops(), precision_policy(s.precision));
}

inline Program placed(Program p, int64_t micro_batches, bool share_addresses = true) {
  p = add_cpu_workspaces(sections(std::move(p), test_ops(), micro_batches), test_ops(), {2});
  return place(std::move(p), {.red_zone_bytes = 0, .borrow = {}, .share_addresses = share_addresses});
}

inline RecomputeChoice steps(size_t n) { return {.mode = RecomputeChoice::Mode::steps, .steps = n, .rates = {}}; }

}  // namespace centavo::testing
