// Llama, and Mistral, which is Llama with a sliding window.

#include <algorithm>
#include <array>

#include "model/hf/config_reader.h"

namespace centavo {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

// A size of 0 stands for one derived from others.
struct Family {
  std::string model_type;
  std::string architecture;
  std::string layer_type;
  ModelConfig defaults;
};

ModelConfig llama_defaults() {
  ModelConfig c;
  c.vocab_size = 32000;
  c.hidden_size = 4096;
  c.intermediate_size = 11008;
  c.num_hidden_layers = 32;
  c.num_attention_heads = 32;
  c.rms_norm_eps = 1e-6;
  c.max_position_embeddings = 2048;
  return c;
}

ModelConfig mistral_defaults() {
  ModelConfig c = llama_defaults();
  c.intermediate_size = 14336;
  c.num_key_value_heads = 8;
  c.sliding_window = 4096;
  c.max_position_embeddings = 131072;
  return c;
}

const std::array<Family, 2>& families() {
  static const std::array<Family, 2> all = {{
      {"llama", "LlamaForCausalLM", "full_attention", llama_defaults()},
      {"mistral", "MistralForCausalLM", "sliding_attention", mistral_defaults()},
  }};
  return all;
}

struct SizeKey {
  const char* name;
  int64_t ModelConfig::*place;
  int64_t most;
};

// In the order of the checks.
constexpr std::array<SizeKey, 6> kSizes = {{
    {"vocab_size", &ModelConfig::vocab_size, kMostSize},
    {"hidden_size", &ModelConfig::hidden_size, kMostWidth},
    {"intermediate_size", &ModelConfig::intermediate_size, kMostWidth},
    {"num_hidden_layers", &ModelConfig::num_hidden_layers, kMostLayers},
    {"num_attention_heads", &ModelConfig::num_attention_heads, kMostHeads},
    {"max_position_embeddings", &ModelConfig::max_position_embeddings, kMostSize},
}};

double rope_theta(const ConfigReader& r, double otherwise) {
  const double top = r.number("rope_theta", otherwise);
  const json* scaling = r.given("rope_scaling");
  const char* key = scaling != nullptr && !scaling->empty() ? "rope_scaling" : "rope_parameters";
  const json* settings = r.given(key);
  if (settings == nullptr) return top;
  if (!settings->is_object()) r.refuse(key, " and must be an object");
  for (const json& value : *settings) {
    if (value.is_object()) r.refuse(key, "; centavo gives every layer the same rotary positions");
  }
  const json* type = r.given(*settings, "rope_type");
  if (type == nullptr) type = r.given(*settings, "type");
  if (type != nullptr && *type != "default") r.refuse(key, "; centavo computes rotary positions without scaling only");
  if (r.number(*settings, "partial_rotary_factor", 1) != 1) r.refuse(key, "; centavo turns whole heads only");
  const double theta = r.number(*settings, "rope_theta", top);
  if (r.given("rope_theta") != nullptr && theta != top) {
    r.refuse(key, " and rope_theta beside it is {}; make the two equal", top);
  }
  return theta;
}

// head_dim and num_key_value_heads, where null means the derived value too.
void read_heads(const ConfigReader& r, ModelConfig& model) {
  const int64_t heads = model.num_attention_heads;
  const bool null_kv = r.contains("num_key_value_heads") && r.given("num_key_value_heads") == nullptr;
  const int64_t kv_default = model.num_key_value_heads == 0 || null_kv ? heads : model.num_key_value_heads;
  model.num_key_value_heads = null_kv ? heads : r.size("num_key_value_heads", heads, kv_default);
  if (model.num_key_value_heads > heads || heads % model.num_key_value_heads != 0) {
    user_error("{}: num_attention_heads {} is not a multiple of num_key_value_heads {}; correct one", r.path(), heads,
               model.num_key_value_heads);
  }
  if (r.given("head_dim") == nullptr && model.hidden_size % heads != 0) {
    user_error("{}: hidden_size {} is not a multiple of num_attention_heads {} and there is no head_dim; correct one",
               r.path(), model.hidden_size, heads);
  }
  model.head_dim = r.given("head_dim") == nullptr ? model.hidden_size / heads : r.size("head_dim", kMostSize, 0);
  r.require_head_dim(model.head_dim);
}

// Llama has no window, whatever the file says; Mistral's null is none.
void read_window(const ConfigReader& r, const Family& family, ModelConfig& model) {
  if (family.model_type == "llama") {
    if (r.given("sliding_window") != nullptr) r.refuse("sliding_window", "; a llama has none, use model_type mistral");
    return;
  }
  const bool off = r.contains("sliding_window") && r.given("sliding_window") == nullptr;
  model.sliding_window = off ? 0 : r.size("sliding_window", kMostSize, model.sliding_window);
}

void check_layer_types(const ConfigReader& r, const Family& family, const ModelConfig& model) {
  const json* list = r.given("layer_types");
  if (list == nullptr) return;
  const std::string expected = model.sliding_window > 0 ? family.layer_type : "full_attention";
  const auto fits = [&](const json& type) { return type == expected; };
  if (!list->is_array() || !std::ranges::all_of(*list, fits)) {
    r.refuse("layer_types", "; centavo computes layers that are all {} here", expected);
  }
}

void check_mathematics(const ConfigReader& r, const Family& family) {
  const json* activation = r.given("hidden_act");
  if (activation != nullptr && *activation != "silu" && *activation != "swish") {
    r.refuse("hidden_act", "; centavo computes silu only");
  }
  if (r.number("partial_rotary_factor", 1) != 1) r.refuse("partial_rotary_factor", "; centavo turns whole heads only");
  for (const char* bias : {"attention_bias", "mlp_bias"}) {
    if (family.model_type == "mistral" && r.flag(bias, false)) r.refuse(bias, "; a mistral has no biases");
  }
}

}  // namespace

ConfigJson read_llama_config(const ConfigReader& r, const std::string& model_type) {
  const Family& family = *std::ranges::find(families(), model_type, &Family::model_type);
  r.require_architecture(family.architecture.c_str());
  check_mathematics(r, family);
  ConfigJson config;
  ModelConfig& model = config.model;
  model = family.defaults;
  for (const SizeKey& key : kSizes) model.*key.place = r.size(key.name, key.most, family.defaults.*key.place);
  read_heads(r, model);
  read_window(r, family, model);
  check_layer_types(r, family, model);
  model.rms_norm_eps = r.number("rms_norm_eps", model.rms_norm_eps);
  model.rope_theta = rope_theta(r, model.rope_theta);
  model.tie_word_embeddings = r.flag("tie_word_embeddings", false);
  model.attention_bias = r.flag("attention_bias", false);
  model.mlp_bias = r.flag("mlp_bias", false);
  model.initializer_range = r.initializer_range(model.initializer_range);
  r.read_special_tokens(config, 1, 2);
  return config;
}

ordered_json llama_config(const ModelConfig& model) {
  const Family& family = families()[model.sliding_window > 0 ? 1 : 0];
  ordered_json j;
  j["architectures"] = {family.architecture};
  j["model_type"] = family.model_type;
  for (const SizeKey& key : kSizes) j[key.name] = model.*key.place;
  j["num_key_value_heads"] = model.num_key_value_heads;
  j["head_dim"] = model.head_dim;
  j["hidden_act"] = "silu";
  j["rms_norm_eps"] = model.rms_norm_eps;
  j["rope_theta"] = model.rope_theta;
  j["rope_scaling"] = nullptr;
  j["rope_parameters"] = {{"rope_type", "default"}, {"rope_theta", model.rope_theta}};
  j["tie_word_embeddings"] = model.tie_word_embeddings;
  if (model.sliding_window > 0) {
    j["sliding_window"] = model.sliding_window;
  } else {
    j["attention_bias"] = model.attention_bias;
    j["mlp_bias"] = model.mlp_bias;
    j["pretraining_tp"] = 1;
  }
  j["attention_dropout"] = 0.0;
  return j;
}

}  // namespace centavo
