#include "plan/probe.h"

#include <fmt/format.h>

namespace centavo {
namespace {

// hidden, intermediate, heads, seq_len, micro_batch, vocabulary, grad_accum_steps
constexpr ProbeShape kFull[] = {
    {96, 256, 3, 128, 2, 256, 2},      {96, 256, 3, 512, 8, 2048, 2},      {160, 432, 5, 256, 4, 1024, 2},
    {160, 640, 5, 128, 32, 6144, 1},   {256, 688, 8, 256, 8, 16000, 2},    {256, 1024, 4, 1024, 4, 2048, 1},
    {256, 688, 8, 256, 32, 256, 1},    {448, 1200, 7, 128, 4, 32000, 2},   {448, 1200, 7, 512, 4, 6144, 2},
    {640, 1712, 10, 256, 1, 2048, 2},  {640, 2560, 10, 1024, 2, 16000, 1}, {896, 2400, 14, 512, 2, 48000, 1},
    {1024, 2736, 16, 256, 2, 6144, 2},
};

constexpr ProbeShape kQuick[] = {
    {96, 256, 3, 128, 2, 256, 2},
    {160, 432, 5, 256, 8, 2048, 2},
    {448, 1200, 7, 256, 2, 6144, 2},
};

const char* const kPrecisions[] = {"fp32", "bf16", "bf16-stochastic"};

// What else a run file may ask for and what brings ops of its own.
std::vector<RunConfig> variants() {
  const ProbeShape shape = {192, 512, 6, 256, 2, 1024, 3};
  std::vector<RunConfig> all(6, probe_config(shape, "fp32"));
  all[0].grad_sum = "tree";
  all[1].recompute = "full";
  all[2].offload = "all";
  all[3].model.attention_bias = true;
  all[3].model.num_key_value_heads = 2;
  all[4].model.sliding_window = 64;
  all[5].model.norm = "layernorm";
  all[5].model.activation = "gelu";
  all[5].model.positions = "learned";
  all[5].model.attention_bias = all[5].model.mlp_bias = true;
  for (RunConfig& config : all) config.model.num_hidden_layers = 2;
  return all;
}

}  // namespace

RunConfig probe_config(const ProbeShape& shape, const std::string& precision) {
  RunConfig c;
  c.precision = precision;
  c.seq_len = shape.seq_len;
  c.micro_batch = shape.micro_batch;
  c.grad_accum_steps = shape.grad_accum_steps;
  c.max_steps = 1000;
  c.learning_rate = 1e-4;
  c.model.vocab_size = shape.vocab_size;
  c.model.hidden_size = shape.hidden_size;
  c.model.intermediate_size = shape.intermediate_size;
  c.model.num_hidden_layers = 1;
  c.model.num_attention_heads = shape.num_attention_heads;
  c.model.num_key_value_heads = shape.num_attention_heads;
  c.model.head_dim = shape.hidden_size / shape.num_attention_heads;
  c.model.max_position_embeddings = shape.seq_len;
  return c;
}

std::vector<RunConfig> ladder(Ladder which) {
  std::vector<RunConfig> all;
  const auto climb = [&](const auto& shapes) {
    for (const char* precision : kPrecisions) {
      for (const ProbeShape& shape : shapes) all.push_back(probe_config(shape, precision));
    }
  };
  if (which == Ladder::quick) {
    climb(kQuick);
    return all;
  }
  climb(kFull);
  for (RunConfig& config : variants()) all.push_back(std::move(config));
  return all;
}

std::string name_of_probe(const RunConfig& c) {
  return fmt::format("{} hidden {} tokens {}x{} vocab {}", c.precision, c.model.hidden_size, c.micro_batch, c.seq_len,
                     c.model.vocab_size);
}

}  // namespace centavo
