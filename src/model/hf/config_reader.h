// Reads the keys of a config.json. Private to config_json.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/errors.h"
#include "model/hf/config_json.h"

namespace centavo {

class ConfigReader {
 public:
  // UserError when the text is no JSON object.
  ConfigReader(const std::string& text, std::string path);

  // Null when absent or null.
  const nlohmann::json* given(const char* key) const { return given(root_, key); }
  const nlohmann::json* given(const nlohmann::json& object, const char* key) const;
  bool contains(const char* key) const { return root_.contains(key); }
  const nlohmann::json& root() const { return root_; }
  const std::string& path() const { return path_; }

  // UserError "PATH: KEY is VALUE" and why.
  template <class... Args>
  [[noreturn]] void refuse(const char* key, fmt::format_string<Args...> why, Args&&... args) const {
    const std::string value = root_.contains(key) ? " is " + shortened(root_[key]) : std::string();
    user_error("{}: {}{}{}", path_, key, value, fmt::format(why, std::forward<Args>(args)...));
  }

  int64_t size(const char* key, int64_t most, int64_t otherwise) const;
  double number(const nlohmann::json& object, const char* key, double otherwise) const;
  double number(const char* key, double otherwise) const { return number(root_, key, otherwise); }
  bool flag(const char* key, bool otherwise) const;
  // Absent: the family's default, if it has one; null: none.
  std::vector<int64_t> ids(const char* key, std::optional<int64_t> otherwise) const;

  // What every family has.
  void require_architecture(const char* architecture) const;
  void require_plain_weights() const;
  void require_head_dim(int64_t head_dim) const;
  double initializer_range(double otherwise) const;
  void read_special_tokens(ConfigJson& config, std::optional<int64_t> bos, std::optional<int64_t> eos) const;

 private:
  static std::string shortened(const nlohmann::json& value);

  std::string path_;
  nlohmann::json root_;
};

// The bounds keep every product of sizes far below 2^63.
constexpr int64_t kMostSize = INT32_MAX;
constexpr int64_t kMostWidth = int64_t{1} << 24;
constexpr int64_t kMostLayers = 10000;
constexpr int64_t kMostHeads = int64_t{1} << 16;
constexpr int64_t kMostHeadDim = 256;  // ops/attention/attention.h

// One family's keys of the architecture, and its checks.
ConfigJson read_llama_config(const ConfigReader& reader, const std::string& model_type);
ConfigJson read_gpt2_config(const ConfigReader& reader);
// Its keys in their order; the caller adds those of every family.
nlohmann::ordered_json llama_config(const ModelConfig& model);
nlohmann::ordered_json gpt2_config(const ModelConfig& model);

}  // namespace centavo
