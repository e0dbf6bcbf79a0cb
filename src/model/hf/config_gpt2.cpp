// GPT-2.

#include <algorithm>
#include <array>

#include "model/hf/config_reader.h"

namespace centavo {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

// GPT-2's name, the one that the other families use for the same, and the default.
struct SizeKey {
  const char* name;
  const char* generic;
  int64_t ModelConfig::*place;
  int64_t most;
  int64_t otherwise;
};

// In the order of the checks.
constexpr std::array<SizeKey, 5> kSizes = {{
    {"vocab_size", "vocab_size", &ModelConfig::vocab_size, kMostSize, 50257},
    {"n_positions", "max_position_embeddings", &ModelConfig::max_position_embeddings, kMostSize, 1024},
    {"n_embd", "hidden_size", &ModelConfig::hidden_size, kMostWidth, 768},
    {"n_layer", "num_hidden_layers", &ModelConfig::num_hidden_layers, kMostLayers, 12},
    {"n_head", "num_attention_heads", &ModelConfig::num_attention_heads, kMostHeads, 12},
}};

// Both forms that transformers computes with tanh.
constexpr std::array<const char*, 2> kActivations = {"gelu_new", "gelu_pytorch_tanh"};

int64_t read_size(const ConfigReader& r, const SizeKey& key) {
  const int64_t generic = r.size(key.generic, key.most, key.otherwise);
  const int64_t own = r.size(key.name, key.most, generic);
  if (r.contains(key.generic) && own != generic) {
    r.refuse(key.name, " and {} beside it is {}; make the two equal", key.generic, generic);
  }
  return own;
}

void check_mathematics(const ConfigReader& r) {
  const json* activation = r.given("activation_function");
  if (activation != nullptr && std::ranges::find(kActivations, *activation) == kActivations.end()) {
    r.refuse("activation_function", "; centavo computes gelu_new here");
  }
  for (const char* other : {"scale_attn_by_inverse_layer_idx", "reorder_and_upcast_attn", "add_cross_attention"}) {
    if (r.flag(other, false)) r.refuse(other, "; centavo computes GPT-2's attention without it");
  }
  if (!r.flag("scale_attn_weights", true)) {
    r.refuse("scale_attn_weights", "; centavo divides scores by the root of the head size");
  }
}

void read_widths(const ConfigReader& r, ModelConfig& model) {
  model.intermediate_size = r.given("n_inner") == nullptr ? 4 * model.hidden_size : r.size("n_inner", kMostWidth, 0);
  model.num_key_value_heads = model.num_attention_heads;
  if (model.hidden_size % model.num_attention_heads != 0) {
    user_error("{}: n_embd {} is not a multiple of n_head {}; correct one", r.path(), model.hidden_size,
               model.num_attention_heads);
  }
  model.head_dim = model.hidden_size / model.num_attention_heads;
  r.require_head_dim(model.head_dim);
}

}  // namespace

ConfigJson read_gpt2_config(const ConfigReader& r) {
  r.require_architecture("GPT2LMHeadModel");
  check_mathematics(r);
  ConfigJson config;
  ModelConfig& model = config.model;
  model.model_type = "gpt2";
  model.norm = "layernorm";
  model.activation = "gelu";
  model.positions = "learned";
  model.attention_bias = model.attention_output_bias = model.mlp_bias = true;
  for (const SizeKey& key : kSizes) model.*key.place = read_size(r, key);
  read_widths(r, model);
  model.layer_norm_epsilon = r.number("layer_norm_epsilon", 1e-5);
  model.tie_word_embeddings = r.flag("tie_word_embeddings", true);
  model.initializer_range = r.initializer_range(model.initializer_range);
  r.read_special_tokens(config, 50256, 50256);
  return config;
}

ordered_json gpt2_config(const ModelConfig& model) {
  ordered_json j;
  j["architectures"] = {"GPT2LMHeadModel"};
  j["model_type"] = "gpt2";
  for (const SizeKey& key : kSizes) j[key.name] = model.*key.place;
  j["n_inner"] = model.intermediate_size;
  j["activation_function"] = kActivations[0];
  j["layer_norm_epsilon"] = model.layer_norm_epsilon;
  j["scale_attn_weights"] = true;
  j["scale_attn_by_inverse_layer_idx"] = false;
  j["reorder_and_upcast_attn"] = false;
  for (const char* dropout : {"embd_pdrop", "attn_pdrop", "resid_pdrop"}) j[dropout] = 0.0;
  j["tie_word_embeddings"] = model.tie_word_embeddings;
  return j;
}

}  // namespace centavo
