#include "train/run_config.h"

#include <fmt/ranges.h>
#include <toml++/toml.h>

#include <filesystem>
#include <map>
#include <optional>

#include "base/errors.h"
#include "base/files.h"
#include "base/nearest.h"
#include "data/tokenizer.h"
#include "train/run_config_keys.h"
#include "train/units.h"

namespace centavo {
namespace {

constexpr std::string_view kModel = "model.";

// Escapes what a basic string of TOML must not hold.
std::string toml_quoted(std::string_view text) {
  std::string result = "\"";
  for (const char c : text) {
    const auto code = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      result += '\\';
      result += c;
    } else if (code < 0x20 || code == 0x7f) {
      result += fmt::format("\\u{:04x}", code);
    } else {
      result += c;
    }
  }
  return result + '"';
}

// The shortest digits that read back as the same number, always a float of TOML.
std::string printed(double value) {
  const std::string digits = fmt::format("{}", value);
  return digits.find_first_of(".e") == std::string::npos ? digits + ".0" : digits;
}
std::string printed(int64_t value) { return fmt::format("{}", value); }
std::string printed(bool value) { return value ? "true" : "false"; }
std::string printed(const std::string& value) { return toml_quoted(value); }

std::string printed_value(const RunConfig& config, const Key& key) {
  return std::visit([](const auto& value) { return printed(value); }, value_of(config, key));
}

// Nothing when the node has another type. An integer serves as a number.
std::optional<Value> read_value(const toml::node& node, const Key& key) {
  switch (value_of(RunConfig(), key).index()) {
    case 0: return node.value_exact<int64_t>();
    case 1: return node.is_number() ? node.value<double>() : std::nullopt;
    case 2: return node.value_exact<bool>();
    default: return node.value_exact<std::string>();
  }
}

// A key of the wrong table is nearer than any misspelling.
std::string suggestion(const std::string& name) {
  const std::string moved = name.starts_with(kModel) ? name.substr(kModel.size()) : std::string(kModel) + name;
  const std::string hint =
      find_key(moved) != nullptr ? ", did you mean " + moved + "?" : did_you_mean(name, key_names());
  return hint.empty() ? "; remove it" : hint;
}

class Reader {
 public:
  explicit Reader(std::string path) : path_(std::move(path)) {}

  void read_file_text(const std::string& text);
  void read_override(const std::string& text);
  RunConfig finish();

 private:
  void read_table(const toml::table& table, const std::string& prefix);
  void take(const Key& key, const toml::node& node, const std::string& where);
  [[noreturn]] void unknown(const std::string& what, const std::string& name, const std::string& where) const;
  std::string line_of(const toml::node& node) const { return fmt::format("{}:{}", path_, node.source().begin.line); }
  // Where the key was given, else the file.
  std::string where(const std::string& key) const;
  bool was_given(const std::string& key) const { return given_.contains(key); }

  void require_keys() const;
  void check_given_shapes() const;
  void take_defaults_of_gpt2();
  void derive_biases();
  void derive_defaults();
  void check_resolved() const;

  std::string path_;
  RunConfig config_;
  std::map<std::string, std::string> given_;  // key -> where
};

void Reader::unknown(const std::string& what, const std::string& name, const std::string& where) const {
  user_error("{}: unknown {} {}{}", where, what, name, suggestion(name));
}

std::string Reader::where(const std::string& key) const {
  const auto found = given_.find(key);
  return found == given_.end() ? path_ : found->second;
}

void Reader::take(const Key& key, const toml::node& node, const std::string& where) {
  const std::optional<Value> value = read_value(node, key);
  if (!value) user_error("{}: {} must be {}", where, key.name, type_in_words(key));
  const std::string broken = broken_rule(key, *value);
  if (!broken.empty()) user_error("{}: {} {}", where, key.name, broken);
  set_value(config_, key, *value);
  given_[key.name] = where;
}

void Reader::read_table(const toml::table& table, const std::string& prefix) {
  for (const auto& [name, node] : table) {
    const std::string full = prefix + std::string(name.str());
    const std::string where = line_of(node);
    if (full == "model") {
      if (!node.is_table()) user_error("{}: model must be a table: write [model]", where);
      read_table(*node.as_table(), std::string(kModel));
      continue;
    }
    const Key* key = find_key(full);
    if (key == nullptr) unknown(node.is_table() ? "table" : "key", full, where);
    // In TOML the quotes make "model.hidden_size" one name outside [model].
    if (name.str().find('.') != std::string_view::npos) {
      user_error("{}: unknown key {}; remove the quotes", where, full);
    }
    take(*key, node, where);
  }
}

void Reader::read_file_text(const std::string& text) {
  try {
    read_table(toml::parse(text, path_), "");
  } catch (const toml::parse_error& error) {
    user_error("{}:{}: this is not TOML: {}", path_, error.source().begin.line, error.description());
  }
}

// Values follow TOML, texts without their quotes.
void Reader::read_override(const std::string& text) {
  const std::string where = fmt::format("override '{}'", text);
  const size_t equals = text.find('=');
  if (equals == std::string::npos) user_error("{}: write it as key=value", where);
  const std::string name = text.substr(0, equals);
  const Key* key = find_key(name);
  if (key == nullptr) unknown("key", name, where);
  const bool is_text = std::holds_alternative<std::string>(value_of(config_, *key));
  const std::string value = text.substr(equals + 1);
  try {
    const toml::table table = toml::parse("v = " + (is_text ? toml_quoted(value) : value));
    if (table.size() == 1) return take(*key, *table.get("v"), where);
  } catch (const toml::parse_error&) {
    // said below
  }
  user_error("{}: {} must be {}{}", where, name, type_in_words(*key), is_text ? " in UTF-8" : "");
}

void Reader::require_keys() const {
  for (const Key& key : run_config_keys()) {
    if (key.given == Given::required && !was_given(key.name)) {
      user_error("{}: {} is missing: give {}, {}", path_, key.name, type_in_words(key), key.help);
    }
  }
}

// What derived defaults rely on.
void Reader::check_given_shapes() const {
  const ModelConfig& model = config_.model;
  if (!was_given("model.head_dim") && model.hidden_size % model.num_attention_heads != 0) {
    user_error(
        "{}: model.hidden_size {} is not a multiple of model.num_attention_heads {}: change one or give "
        "model.head_dim",
        where("model.hidden_size"), model.hidden_size, model.num_attention_heads);
  }
}

void Reader::take_defaults_of_gpt2() {
  ModelConfig& model = config_.model;
  if (!was_given("model.norm")) model.norm = "layernorm";
  if (!was_given("model.activation")) model.activation = "gelu";
  if (!was_given("model.positions")) model.positions = "learned";
  if (!was_given("model.tie_word_embeddings")) model.tie_word_embeddings = true;
  if (!was_given("model.mlp_bias")) model.mlp_bias = true;
}

void Reader::derive_biases() {
  ModelConfig& model = config_.model;
  if (!was_given("model.attention_bias")) model.attention_bias = model.model_type != "llama";
  if (!was_given("model.attention_output_bias")) {
    model.attention_output_bias = model.attention_bias && model.model_type != "qwen2";
  }
}

void Reader::derive_defaults() {
  ModelConfig& model = config_.model;
  if (model.model_type == "gpt2") take_defaults_of_gpt2();
  derive_biases();
  if (!was_given("model.num_key_value_heads")) model.num_key_value_heads = model.num_attention_heads;
  if (!was_given("model.head_dim")) model.head_dim = model.hidden_size / model.num_attention_heads;
  if (!was_given("model.max_position_embeddings")) model.max_position_embeddings = config_.seq_len;
  if (config_.out.empty()) config_.out = "runs/" + std::filesystem::path(path_).stem().string();
}

void Reader::check_resolved() const {
  const ModelConfig& model = config_.model;
  if (model.num_attention_heads % model.num_key_value_heads != 0) {
    user_error("{}: model.num_attention_heads {} is not a multiple of model.num_key_value_heads {}: change one",
               where("model.num_key_value_heads"), model.num_attention_heads, model.num_key_value_heads);
  }
  if (model.positions == "rope" && model.head_dim % 2 != 0) {
    user_error(
        "{}: model.head_dim {} is odd, rotary positions need pairs: give an even one, or another "
        "model.hidden_size",
        where("model.head_dim"), model.head_dim);
  }
  if (model.max_position_embeddings < config_.seq_len) {
    user_error("{}: model.max_position_embeddings {} is below seq_len {}: raise it or lower seq_len",
               where("model.max_position_embeddings"), model.max_position_embeddings, config_.seq_len);
  }
  if (model.vocab_size < kByteVocabulary) {
    user_error("{}: model.vocab_size is {} and the bytes of a text are {} tokens; set model.vocab_size = {} or more",
               where("model.vocab_size"), model.vocab_size, kByteVocabulary, kByteVocabulary);
  }
  if (!config_.memory.empty() && !parse_bytes(config_.memory)) {
    user_error("{}: memory must be a size such as \"2GiB\" or \"512MiB\", not \"{}\"", where("memory"), config_.memory);
  }
  if (!config_.text.empty() && !config_.data.empty()) {
    user_error("{}: both text and data are given; leave one out", where("data"));
  }
  if (!config_.tokenizer.empty() && !config_.data.empty()) {
    user_error("{}: the data directory has a tokenizer of its own; leave tokenizer out", where("tokenizer"));
  }
  if (config_.validation_every > 0 && config_.validation_fraction == 0) {
    user_error("{}: validation_fraction 0 leaves nothing to validate: raise it or set validation_every = 0",
               where("validation_fraction"));
  }
}

RunConfig Reader::finish() {
  require_keys();
  check_given_shapes();
  derive_defaults();
  check_resolved();
  return config_;
}

std::string default_in_words(const Key& key) {
  if (key.given == Given::required) return "required";
  return "default " + (key.derived.empty() ? printed_value(RunConfig(), key) : key.derived);
}

std::string choices_in_words(const Key& key) {
  const Choices* choices = std::get_if<Choices>(&key.rule);
  return choices == nullptr ? std::string() : fmt::format(" ({})", fmt::join(*choices, ", "));
}

}  // namespace

RunConfig parse_run_config_text(const std::string& toml, const std::string& path,
                                const std::vector<std::string>& overrides) {
  Reader reader(path);
  reader.read_file_text(toml);
  for (const std::string& text : overrides) reader.read_override(text);
  return reader.finish();
}

RunConfig parse_run_config(const std::string& path, const std::vector<std::string>& overrides) {
  return parse_run_config_text(read_file(path), path, overrides);
}

std::string print(const RunConfig& config) {
  std::string text;
  bool in_model = false;
  for (const Key& key : run_config_keys()) {
    if (key.name == "price_per_hour" && config.price_per_hour == kNoPrice) continue;  // no price is not a price
    const bool of_model = key.name.starts_with(kModel);
    if (of_model && !in_model) text += "\n[model]\n";
    in_model = of_model;
    const std::string name = of_model ? key.name.substr(kModel.size()) : key.name;
    text += fmt::format("{} = {}\n", name, printed_value(config, key));
  }
  return text;
}

std::vector<std::string> differing_keys(const RunConfig& a, const RunConfig& b) {
  std::vector<std::string> names;
  for (const Key& key : run_config_keys()) {
    if (value_of(a, key) != value_of(b, key)) names.push_back(key.name);
  }
  return names;
}

const std::vector<std::string>& keys_free_on_resume() {
  static const std::vector<std::string> keys = {"max_steps", "memory", "recompute",     "offload",       "shard",
                                                "prefetch",  "device", "deterministic", "price_per_hour"};
  return keys;
}

std::string run_config_help() {
  std::string text;
  for (const Key& key : run_config_keys()) {
    text += fmt::format("{:<30} {:<14} {}{}; {}\n", key.name, type_in_words(key), key.help, choices_in_words(key),
                        default_in_words(key));
  }
  return text;
}

}  // namespace centavo
