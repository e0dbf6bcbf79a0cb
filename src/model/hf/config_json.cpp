#include "model/hf/config_json.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>

#include "base/errors.h"
#include "base/nearest.h"

namespace centavo {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

constexpr int64_t kMostHeadDim = 256;  // ops/attention/attention.h
constexpr const char* kTransformersVersion = "5.0.0";

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

constexpr int64_t kMostSize = INT32_MAX;

// In the order of the checks; the bounds keep every product of sizes far below 2^63.
constexpr std::array<SizeKey, 6> kSizes = {{
    {"vocab_size", &ModelConfig::vocab_size, kMostSize},
    {"hidden_size", &ModelConfig::hidden_size, int64_t{1} << 24},
    {"intermediate_size", &ModelConfig::intermediate_size, int64_t{1} << 24},
    {"num_hidden_layers", &ModelConfig::num_hidden_layers, 10000},
    {"num_attention_heads", &ModelConfig::num_attention_heads, int64_t{1} << 16},
    {"max_position_embeddings", &ModelConfig::max_position_embeddings, kMostSize},
}};

std::string shortened(const json& value) {
  const std::string text = value.dump();
  constexpr size_t kMost = 60;
  return text.size() <= kMost ? text : text.substr(0, kMost) + "…";
}

class Reader {
 public:
  Reader(const std::string& text, std::string path) : path_(std::move(path)) {
    try {
      root_ = json::parse(text);
    } catch (const json::exception& error) {
      user_error("{} is not JSON: {}; restore it or write it again", path_, error.what());
    }
    if (!root_.is_object()) user_error("{} holds no object of keys; restore it or write it again", path_);
  }

  ConfigJson read();

 private:
  // Null when absent or null.
  const json* given(const json& object, const char* key) const {
    const auto found = object.find(key);
    return found == object.end() || found->is_null() ? nullptr : &*found;
  }
  const json* given(const char* key) const { return given(root_, key); }

  template <class... Args>
  [[noreturn]] void refuse(const char* key, fmt::format_string<Args...> why, Args&&... args) const {
    const std::string value = root_.contains(key) ? " is " + shortened(root_[key]) : std::string();
    user_error("{}: {}{}{}", path_, key, value, fmt::format(why, std::forward<Args>(args)...));
  }

  const Family& find_family() const;
  int64_t size(const char* key, int64_t most, int64_t otherwise) const;
  double number(const json& object, const char* key, double otherwise) const;
  bool flag(const char* key, bool otherwise) const;
  std::vector<int64_t> ids(const char* key, int64_t otherwise) const;
  double rope_theta(double otherwise) const;
  void read_heads(ModelConfig& model) const;
  void read_window(const Family& family, ModelConfig& model) const;
  void check_architectures(const Family& family) const;
  void check_layer_types(const Family& family, const ModelConfig& model) const;
  void check_mathematics(const Family& family) const;

  std::string path_;
  json root_;
};

const Family& Reader::find_family() const {
  const json* type = given("model_type");
  if (type == nullptr || !type->is_string()) {
    refuse("model_type", " and names no model type; centavo reads llama and mistral");
  }
  const std::string name = type->get<std::string>();
  for (const Family& family : families()) {
    if (family.model_type == name) return family;
  }
  refuse("model_type", "; centavo reads llama and mistral{}", did_you_mean(name, {"llama", "mistral"}));
}

int64_t Reader::size(const char* key, int64_t most, int64_t otherwise) const {
  const auto found = root_.find(key);
  if (found == root_.end()) return otherwise;
  if (!found->is_number_integer()) refuse(key, " and must be an integer");
  const bool fits = found->is_number_unsigned() && found->get<uint64_t>() >= 1 &&
                    found->get<uint64_t>() <= static_cast<uint64_t>(most);
  if (!fits) refuse(key, " and must lie between 1 and {}", most);
  return found->get<int64_t>();
}

double Reader::number(const json& object, const char* key, double otherwise) const {
  const json* found = given(object, key);
  if (found == nullptr) return otherwise;
  const double value = found->is_number() ? found->get<double>() : -1;
  if (!std::isfinite(value) || value <= 0) {
    user_error("{}: {} is {} and must be a number above 0", path_, key, shortened(*found));
  }
  return value;
}

bool Reader::flag(const char* key, bool otherwise) const {
  const json* found = given(key);
  if (found == nullptr) return otherwise;
  if (!found->is_boolean()) refuse(key, " and must be true or false");
  return found->get<bool>();
}

// Absent: the family's default; null: none.
std::vector<int64_t> Reader::ids(const char* key, int64_t otherwise) const {
  const auto found = root_.find(key);
  if (found == root_.end()) return {otherwise};
  if (found->is_null()) return {};
  const json list = found->is_array() ? *found : json::array({*found});
  std::vector<int64_t> all;
  for (const json& id : list) {
    if (!id.is_number_unsigned() || id.get<uint64_t>() > kMostSize) refuse(key, " and must hold token ids");
    all.push_back(id.get<int64_t>());
  }
  return all;
}

double Reader::rope_theta(double otherwise) const {
  const double top = number(root_, "rope_theta", otherwise);
  const json* scaling = given("rope_scaling");
  const char* key = scaling != nullptr && !scaling->empty() ? "rope_scaling" : "rope_parameters";
  const json* settings = given(key);
  if (settings == nullptr) return top;
  if (!settings->is_object()) refuse(key, " and must be an object");
  for (const json& value : *settings) {
    if (value.is_object()) refuse(key, "; centavo gives every layer the same rotary positions");
  }
  const json* type = given(*settings, "rope_type");
  if (type == nullptr) type = given(*settings, "type");
  if (type != nullptr && *type != "default") refuse(key, "; centavo computes rotary positions without scaling only");
  if (number(*settings, "partial_rotary_factor", 1) != 1) refuse(key, "; centavo turns whole heads only");
  const double theta = number(*settings, "rope_theta", top);
  if (given("rope_theta") != nullptr && theta != top) {
    refuse(key, " and rope_theta beside it is {}; make the two equal", top);
  }
  return theta;
}

// head_dim and num_key_value_heads, where null means the derived value too.
void Reader::read_heads(ModelConfig& model) const {
  const int64_t heads = model.num_attention_heads;
  const bool null_kv = root_.contains("num_key_value_heads") && given("num_key_value_heads") == nullptr;
  const int64_t kv_default = model.num_key_value_heads == 0 || null_kv ? heads : model.num_key_value_heads;
  model.num_key_value_heads = null_kv ? heads : size("num_key_value_heads", heads, kv_default);
  if (model.num_key_value_heads > heads || heads % model.num_key_value_heads != 0) {
    user_error("{}: num_attention_heads {} is not a multiple of num_key_value_heads {}; correct one", path_, heads,
               model.num_key_value_heads);
  }
  if (given("head_dim") == nullptr && model.hidden_size % heads != 0) {
    user_error("{}: hidden_size {} is not a multiple of num_attention_heads {} and there is no head_dim; correct one",
               path_, model.hidden_size, heads);
  }
  model.head_dim = given("head_dim") == nullptr ? model.hidden_size / heads : size("head_dim", kMostSize, 0);
  if (model.head_dim % 2 != 0 || model.head_dim > kMostHeadDim) {
    user_error("{}: heads of {} elements; centavo computes even sizes up to {}", path_, model.head_dim, kMostHeadDim);
  }
}

// Llama has no window, whatever the file says; Mistral's null is none.
void Reader::read_window(const Family& family, ModelConfig& model) const {
  if (family.model_type == "llama") {
    if (given("sliding_window") != nullptr) refuse("sliding_window", "; a llama has none, use model_type mistral");
    return;
  }
  const bool off = root_.contains("sliding_window") && given("sliding_window") == nullptr;
  model.sliding_window = off ? 0 : size("sliding_window", kMostSize, model.sliding_window);
}

void Reader::check_architectures(const Family& family) const {
  const json* list = given("architectures");
  if (list == nullptr) return;
  const bool listed = list->is_array() && std::ranges::find(*list, json(family.architecture)) != list->end();
  if (!listed) refuse("architectures", "; centavo reads {}", family.architecture);
}

void Reader::check_layer_types(const Family& family, const ModelConfig& model) const {
  const json* list = given("layer_types");
  if (list == nullptr) return;
  const std::string expected = model.sliding_window > 0 ? family.layer_type : "full_attention";
  const auto fits = [&](const json& type) { return type == expected; };
  if (!list->is_array() || !std::ranges::all_of(*list, fits)) {
    refuse("layer_types", "; centavo computes layers that are all {} here", expected);
  }
}

void Reader::check_mathematics(const Family& family) const {
  if (given("quantization_config") != nullptr) {
    refuse("quantization_config", "; centavo reads weights of F32 or BF16, convert them back first");
  }
  const json* activation = given("hidden_act");
  if (activation != nullptr && *activation != "silu" && *activation != "swish") {
    refuse("hidden_act", "; centavo computes silu only");
  }
  if (flag("mlp_bias", false)) refuse("mlp_bias", "; centavo computes a feed-forward without biases only");
  if (number(root_, "partial_rotary_factor", 1) != 1)
    refuse("partial_rotary_factor", "; centavo turns whole heads only");
  if (family.model_type == "mistral" && flag("attention_bias", false)) {
    refuse("attention_bias", "; a mistral has no biases");
  }
}

ConfigJson Reader::read() {
  const Family& family = find_family();
  check_architectures(family);
  check_mathematics(family);
  ConfigJson config;
  ModelConfig& model = config.model;
  model = family.defaults;
  for (const SizeKey& key : kSizes) model.*key.place = size(key.name, key.most, family.defaults.*key.place);
  read_heads(model);
  read_window(family, model);
  check_layer_types(family, model);
  model.rms_norm_eps = number(root_, "rms_norm_eps", model.rms_norm_eps);
  model.rope_theta = rope_theta(model.rope_theta);
  model.tie_word_embeddings = flag("tie_word_embeddings", false);
  model.attention_bias = flag("attention_bias", false);
  const json* range = given("initializer_range");
  if (range != nullptr && *range != 0) model.initializer_range = number(root_, "initializer_range", 0);
  if (range != nullptr && *range == 0) model.initializer_range = 0;

  const std::vector<int64_t> bos = ids("bos_token_id", 1);
  if (bos.size() > 1) refuse("bos_token_id", " and must be one token id");
  if (!bos.empty()) config.bos_token_id = bos[0];
  config.eos_token_ids = ids("eos_token_id", 2);
  return config;
}

ordered_json id_or_null(std::optional<int64_t> id) { return id ? ordered_json(*id) : ordered_json(); }

ordered_json ids_or_null(const std::vector<int64_t>& ids) {
  if (ids.empty()) return {};
  return ids.size() == 1 ? ordered_json(ids[0]) : ordered_json(ids);
}

const char* dtype_in_words(DType dtype) {
  CHECK(dtype == DType::f32 || dtype == DType::bf16, "{}", name_of(dtype));
  return dtype == DType::f32 ? "float32" : "bfloat16";
}

}  // namespace

ConfigJson parse_config_json(const std::string& text, const std::string& path) { return Reader(text, path).read(); }

void require_exportable(const ModelConfig& model) {
  if (model.hidden_size % model.num_attention_heads != 0) {
    user_error(
        "Hugging Face's Llama needs a hidden_size that is a multiple of num_attention_heads, and {} is not one of {}; "
        "change one",
        model.hidden_size, model.num_attention_heads);
  }
  if (model.sliding_window > 0 && model.attention_bias) {
    user_error("no Hugging Face model has both attention_bias and a sliding_window of {}; leave out one",
               model.sliding_window);
  }
}

std::string print_config_json(const ConfigJson& config, DType dtype) {
  const ModelConfig& model = config.model;
  require_exportable(model);
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
    j["mlp_bias"] = false;
    j["pretraining_tp"] = 1;
  }
  j["attention_dropout"] = 0.0;
  j["initializer_range"] = model.initializer_range;
  j["bos_token_id"] = id_or_null(config.bos_token_id);
  j["eos_token_id"] = ids_or_null(config.eos_token_ids);
  j["pad_token_id"] = nullptr;
  j["use_cache"] = true;
  j["torch_dtype"] = dtype_in_words(dtype);
  j["dtype"] = dtype_in_words(dtype);
  j["transformers_version"] = kTransformersVersion;
  return j.dump(2) + "\n";
}

}  // namespace centavo
