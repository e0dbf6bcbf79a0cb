#include "model/hf/config_reader.h"
#include "base/json.h"

#include <algorithm>
#include <cmath>

namespace centavo {

using nlohmann::json;

ConfigReader::ConfigReader(const std::string& text, std::string path) : path_(std::move(path)) {
  try {
    root_ = parse_json(text);
  } catch (const json::exception& error) {
    user_error("{} is not JSON: {}; restore it or write it again", path_, error.what());
  }
  if (!root_.is_object()) user_error("{} holds no object of keys; restore it or write it again", path_);
}

std::string ConfigReader::shortened(const json& value) {
  const std::string text = json_text(value);
  constexpr size_t kMost = 60;
  return text.size() <= kMost ? text : text.substr(0, kMost) + "…";
}

const json* ConfigReader::given(const json& object, const char* key) const {
  const auto found = object.find(key);
  return found == object.end() || found->is_null() ? nullptr : &*found;
}

int64_t ConfigReader::size(const char* key, int64_t most, int64_t otherwise) const {
  const auto found = root_.find(key);
  if (found == root_.end()) return otherwise;
  if (!found->is_number_integer()) refuse(key, " and must be an integer");
  const bool fits = found->is_number_unsigned() && found->get<uint64_t>() >= 1 &&
                    found->get<uint64_t>() <= static_cast<uint64_t>(most);
  if (!fits) refuse(key, " and must lie between 1 and {}", most);
  return found->get<int64_t>();
}

double ConfigReader::number(const json& object, const char* key, double otherwise) const {
  const json* found = given(object, key);
  if (found == nullptr) return otherwise;
  const double value = found->is_number() ? found->get<double>() : -1;
  if (!std::isfinite(value) || value <= 0) {
    user_error("{}: {} is {} and must be a number above 0", path_, key, shortened(*found));
  }
  return value;
}

bool ConfigReader::flag(const char* key, bool otherwise) const {
  const json* found = given(key);
  if (found == nullptr) return otherwise;
  if (!found->is_boolean()) refuse(key, " and must be true or false");
  return found->get<bool>();
}

std::vector<int64_t> ConfigReader::ids(const char* key, std::optional<int64_t> otherwise) const {
  const auto found = root_.find(key);
  if (found == root_.end()) return otherwise ? std::vector{*otherwise} : std::vector<int64_t>();
  if (found->is_null()) return {};
  const json list = found->is_array() ? *found : json::array({*found});
  std::vector<int64_t> all;
  for (const json& id : list) {
    if (!id.is_number_unsigned() || id.get<uint64_t>() > kMostSize) refuse(key, " and must hold token ids");
    all.push_back(id.get<int64_t>());
  }
  return all;
}

void ConfigReader::require_architecture(const char* architecture) const {
  const json* list = given("architectures");
  if (list == nullptr) return;
  const bool listed = list->is_array() && std::ranges::find(*list, json(architecture)) != list->end();
  if (!listed) refuse("architectures", "; centavo reads {}", architecture);
}

void ConfigReader::require_plain_weights() const {
  if (given("quantization_config") == nullptr) return;
  refuse("quantization_config", "; centavo reads weights of F32 or BF16, convert them back first");
}

void ConfigReader::require_head_dim(int64_t head_dim) const {
  if (head_dim % 2 == 0 && head_dim <= kMostHeadDim) return;
  user_error("{}: heads of {} elements; centavo computes even sizes up to {}", path_, head_dim, kMostHeadDim);
}

double ConfigReader::initializer_range(double otherwise) const {
  const json* range = given("initializer_range");
  return range != nullptr && *range == 0 ? 0 : number("initializer_range", otherwise);
}

void ConfigReader::read_special_tokens(ConfigJson& config, std::optional<int64_t> bos,
                                       std::optional<int64_t> eos) const {
  const std::vector<int64_t> begins = ids("bos_token_id", bos);
  if (begins.size() > 1) refuse("bos_token_id", " and must be one token id");
  if (!begins.empty()) config.bos_token_id = begins[0];
  config.eos_token_ids = ids("eos_token_id", eos);
}

}  // namespace centavo
