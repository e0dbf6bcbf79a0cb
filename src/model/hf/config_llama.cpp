// Llama; Mistral, which is Llama with a sliding window; and Qwen2, which is Llama with biases on q, k and v.

#include <algorithm>
#include <array>

#include "model/hf/config_reader.h"
#include "model/hf/family.h"

namespace centavo {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

// A size of 0 stands for one derived from others.
struct Family {
  HfFamily id;
  std::string model_type;
  std::string architecture;
  std::optional<int64_t> bos, eos;
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

ModelConfig qwen2_defaults() {
  ModelConfig c = llama_defaults();
  c.model_type = "qwen2";
  c.vocab_size = 151936;
  c.intermediate_size = 22016;
  c.num_key_value_heads = 32;
  c.attention_bias = true;
  c.max_position_embeddings = 32768;
  return c;
}

const std::array<Family, 3>& families() {
  static const std::array<Family, 3> all = {{
      {HfFamily::llama, "llama", "LlamaForCausalLM", 1, 2, llama_defaults()},
      {HfFamily::mistral, "mistral", "MistralForCausalLM", 1, 2, mistral_defaults()},
      {HfFamily::qwen2, "qwen2", "Qwen2ForCausalLM", {}, {}, qwen2_defaults()},
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

// Llama has no window, whatever the file says; Qwen2's sliding_window counts only with use_sliding_window; Mistral's
// null is none.
void read_window(const ConfigReader& r, const Family& family, ModelConfig& model) {
  if (family.id == HfFamily::qwen2) {
    const bool windowed = r.size("max_window_layers", kMostLayers, 28) < model.num_hidden_layers;
    if (windowed && r.flag("use_sliding_window", false)) {
      r.refuse("use_sliding_window",
               "; only layers from max_window_layers on have it, and centavo's are all of one kind");
    }
    return;
  }
  if (family.id == HfFamily::llama) {
    if (r.given("sliding_window") != nullptr) r.refuse("sliding_window", "; a llama has none, use model_type mistral");
    return;
  }
  const bool off = r.contains("sliding_window") && r.given("sliding_window") == nullptr;
  model.sliding_window = off ? 0 : r.size("sliding_window", kMostSize, model.sliding_window);
}

void check_layer_types(const ConfigReader& r, const ModelConfig& model) {
  const json* list = r.given("layer_types");
  if (list == nullptr) return;
  const std::string expected = model.sliding_window > 0 ? "sliding_attention" : "full_attention";
  const auto fits = [&](const json& type) { return type == expected; };
  if (!list->is_array() || !std::ranges::all_of(*list, fits)) {
    r.refuse("layer_types", "; centavo computes layers that are all {} here", expected);
  }
}

void check_mathematics(const ConfigReader& r) {
  const json* activation = r.given("hidden_act");
  if (activation != nullptr && *activation != "silu" && *activation != "swish") {
    r.refuse("hidden_act", "; centavo computes silu only");
  }
  if (r.number("partial_rotary_factor", 1) != 1) r.refuse("partial_rotary_factor", "; centavo turns whole heads only");
}

// Llama's are what the file says. The other classes pass over these keys, so a file that says otherwise is refused.
void read_biases(const ConfigReader& r, const Family& family, ModelConfig& model) {
  const bool attention = family.defaults.attention_bias;
  model.attention_bias = r.flag("attention_bias", attention);
  model.mlp_bias = r.flag("mlp_bias", false);
  if (family.id == HfFamily::llama) {
    model.attention_output_bias = model.attention_bias;
    return;
  }
  const char* wrong = model.attention_bias != attention ? "attention_bias" : model.mlp_bias ? "mlp_bias" : nullptr;
  if (wrong == nullptr) return;
  r.refuse(wrong, "; a {} has {}", family.model_type, attention ? "biases on q, k and v alone" : "no biases");
}

// The keys that one family alone has.
void write_own_keys(const ModelConfig& model, HfFamily family, ordered_json& j) {
  if (family == HfFamily::mistral) {
    j["sliding_window"] = model.sliding_window;
  } else if (family == HfFamily::qwen2) {
    j["use_sliding_window"] = false;
    j["sliding_window"] = nullptr;
    j["max_window_layers"] = model.num_hidden_layers;
  } else {
    j["attention_bias"] = model.attention_bias;
    j["mlp_bias"] = model.mlp_bias;
    j["pretraining_tp"] = 1;
  }
}

}  // namespace

ConfigJson read_llama_config(const ConfigReader& r, const std::string& model_type) {
  const Family& family = *std::ranges::find(families(), model_type, &Family::model_type);
  r.require_architecture(family.architecture.c_str());
  check_mathematics(r);
  ConfigJson config;
  ModelConfig& model = config.model;
  model = family.defaults;
  for (const SizeKey& key : kSizes) model.*key.place = r.size(key.name, key.most, family.defaults.*key.place);
  read_heads(r, model);
  read_window(r, family, model);
  check_layer_types(r, model);
  model.rms_norm_eps = r.number("rms_norm_eps", model.rms_norm_eps);
  model.rope_theta = rope_theta(r, model.rope_theta);
  model.tie_word_embeddings = r.flag("tie_word_embeddings", false);
  read_biases(r, family, model);
  model.initializer_range = r.initializer_range(model.initializer_range);
  r.read_special_tokens(config, family.bos, family.eos);
  return config;
}

ordered_json llama_config(const ModelConfig& model) {
  const Family& family = *std::ranges::find(families(), family_of(model), &Family::id);
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
  write_own_keys(model, family.id, j);
  j["attention_dropout"] = 0.0;
  return j;
}

}  // namespace centavo
