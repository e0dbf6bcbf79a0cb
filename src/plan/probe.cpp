#include "plan/probe.h"

#include <fmt/format.h>

#include <iterator>

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

// The last number: heads for keys and values.
constexpr ProbeShape kGpuFull[] = {
    {768, 2048, 12, 1024, 32, 50304, 2, 12},  {1024, 2816, 16, 2048, 4, 32000, 1, 16},
    {1024, 4096, 8, 1024, 16, 64000, 2, 8},   {1792, 4864, 14, 1024, 16, 100352, 2, 2},
    {2048, 5632, 32, 2048, 8, 32000, 2, 8},   {2048, 8192, 16, 4096, 2, 128256, 1, 16},
    {2560, 6912, 20, 4096, 8, 32000, 1, 20},  {3072, 8192, 24, 2048, 4, 100352, 2, 8},
    {4096, 11008, 32, 4096, 4, 32000, 2, 32}, {4096, 14336, 32, 2048, 16, 152064, 1, 8},
};

constexpr ProbeShape kGpuQuick[] = {
    {1024, 2816, 16, 1024, 16, 32000, 2, 16},
    {4096, 11008, 32, 4096, 2, 32000, 1, 8},
    {2048, 5632, 16, 2048, 8, 64000, 2, 8},
};

// Of fp32 and of what else a run file may ask for.
constexpr ProbeShape kGpuVariant = {1024, 2816, 16, 1024, 8, 32000, 3, 4};

// Where a head is that wide, models tie it to the embedding.
constexpr int64_t kTiedVocabulary = 100000;
constexpr int64_t kGpuLossChunk = 8192;

void make_gpt2(ModelConfig& model) {
  model.norm = "layernorm";
  model.activation = "gelu";
  model.positions = "learned";
  model.attention_bias = model.attention_output_bias = model.mlp_bias = true;
}

// What else a run file may ask for and what brings ops of its own.
std::vector<RunConfig> variants() {
  const ProbeShape shape = {192, 512, 6, 256, 2, 1024, 3};
  std::vector<RunConfig> all(7, probe_config(shape, "fp32"));
  all[0].grad_sum = "tree";
  all[1].recompute = "full";
  all[2].offload = "all";
  all[3].model.attention_bias = all[3].model.attention_output_bias = true;
  all[3].model.num_key_value_heads = 2;
  all[4].model.sliding_window = 64;
  make_gpt2(all[5].model);
  all[6].recompute = "cheap";
  for (RunConfig& config : all) config.model.num_hidden_layers = 2;
  return all;
}

RunConfig gpu_probe(const ProbeShape& shape, const std::string& precision) {
  RunConfig config = probe_config(shape, precision);
  config.device = "cuda";
  config.documents = "joined";
  config.loss_chunk = kGpuLossChunk;
  config.model.tie_word_embeddings = shape.vocab_size > kTiedVocabulary;
  return config;
}

std::vector<RunConfig> gpu_variants() {
  std::vector<RunConfig> all(8, gpu_probe(kGpuVariant, "bf16"));
  all[0].documents = "apart";
  all[1].recompute = "full";
  all[2].offload = "all";
  all[3].model.attention_bias = all[3].model.attention_output_bias = true;
  all[4].model.sliding_window = 256;
  all[5].grad_sum = "tree";
  make_gpt2(all[6].model);
  all[7].recompute = "cheap";
  for (RunConfig& config : all) config.model.num_hidden_layers = 2;
  all.push_back(gpu_probe(kGpuVariant, "fp32"));
  return all;
}

// Every second shape with stochastic rounding too: but for the updates its ops are those of bf16.
std::vector<RunConfig> gpu_ladder(Ladder which) {
  std::vector<RunConfig> all;
  const auto climb = [&](const auto& shapes) {
    for (size_t i = 0; i < std::size(shapes); ++i) {
      all.push_back(gpu_probe(shapes[i], "bf16"));
      if (i % 2 == 0) all.push_back(gpu_probe(shapes[i], "bf16-stochastic"));
    }
  };
  if (which == Ladder::quick) {
    climb(kGpuQuick);
    return all;
  }
  climb(kGpuFull);
  for (RunConfig& config : gpu_variants()) all.push_back(std::move(config));
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
  c.model.num_key_value_heads = shape.num_key_value_heads > 0 ? shape.num_key_value_heads : shape.num_attention_heads;
  c.model.head_dim = shape.hidden_size / shape.num_attention_heads;
  c.model.max_position_embeddings = shape.seq_len;
  return c;
}

std::vector<RunConfig> ladder(Ladder which, DeviceKind device) {
  if (device == DeviceKind::cuda) return gpu_ladder(which);
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
