// The architecture of a model in Hugging Face's words. Values only: reading and checking are the callers'
// (train/run_config.h for TOML).
#pragma once

#include <cstdint>
#include <string>

namespace centavo {

struct ModelConfig {
  // Or "qwen2", "gpt2": where defaults come from; the fields below say what is computed.
  std::string model_type = "llama";
  int64_t vocab_size = 0;
  int64_t hidden_size = 0;
  int64_t intermediate_size = 0;
  int64_t num_hidden_layers = 0;
  int64_t num_attention_heads = 0;
  int64_t num_key_value_heads = 0;
  int64_t head_dim = 0;
  std::string norm = "rmsnorm";       // or "layernorm", with weight and bias
  std::string activation = "swiglu";  // or "gelu": the tanh form, without a gate
  std::string positions = "rope";     // or "learned": a table of max_position_embeddings rows
  double rms_norm_eps = 1e-5;
  double layer_norm_epsilon = 1e-5;
  double rope_theta = 10000;
  bool tie_word_embeddings = false;
  bool attention_bias = false;         // on the projections to q, k and v
  bool attention_output_bias = false;  // on the projection of the attention's output, o
  bool mlp_bias = false;               // on the projections of the feed-forward
  int64_t sliding_window = 0;          // 0: none
  double initializer_range = 0.02;
  int64_t max_position_embeddings = 0;

  bool operator==(const ModelConfig&) const = default;
};

}  // namespace centavo
