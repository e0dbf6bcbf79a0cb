#include "model/hf/config_json.h"

#include "base/json.h"
#include "base/nearest.h"
#include "model/hf/config_reader.h"
#include "model/hf/family.h"

namespace centavo {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

constexpr const char* kTransformersVersion = "5.0.0";

const std::vector<std::string>& model_types() {
  static const std::vector<std::string> all = {"gpt2", "llama", "mistral", "qwen2"};
  return all;
}

std::string model_type_of(const ConfigReader& r) {
  const json* type = r.given("model_type");
  if (type == nullptr || !type->is_string()) {
    r.refuse("model_type", " and names no model type; centavo reads gpt2, llama, mistral and qwen2");
  }
  std::string name = type->get<std::string>();
  if (std::ranges::find(model_types(), name) == model_types().end()) {
    r.refuse("model_type", "; centavo reads gpt2, llama, mistral and qwen2{}", did_you_mean(name, model_types()));
  }
  return name;
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

ConfigJson parse_config_json(const std::string& text, const std::string& path) {
  const ConfigReader reader(text, path);
  const std::string type = model_type_of(reader);
  reader.require_plain_weights();
  return type == "gpt2" ? read_gpt2_config(reader) : read_llama_config(reader, type);
}

std::string print_config_json(const ConfigJson& config, DType dtype) {
  const ModelConfig& model = config.model;
  require_exportable(model);
  ordered_json j = family_of(model) == HfFamily::gpt2 ? gpt2_config(model) : llama_config(model);
  j["initializer_range"] = model.initializer_range;
  j["bos_token_id"] = id_or_null(config.bos_token_id);
  j["eos_token_id"] = ids_or_null(config.eos_token_ids);
  j["pad_token_id"] = nullptr;
  j["use_cache"] = true;
  j["torch_dtype"] = dtype_in_words(dtype);
  j["dtype"] = dtype_in_words(dtype);
  j["transformers_version"] = kTransformersVersion;
  return json_text(j, 2) + "\n";
}

}  // namespace centavo
