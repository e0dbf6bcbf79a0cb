// The table of configuration keys: the one place that knows what a run can be told. Private to run_config.
#pragma once

#include <limits>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "train/run_config.h"

namespace centavo {

// Where a key's value lies; its alternative is the key's type.
using Place =
    std::variant<int64_t RunConfig::*, double RunConfig::*, bool RunConfig::*, std::string RunConfig::*,
                 int64_t ModelConfig::*, double ModelConfig::*, bool ModelConfig::*, std::string ModelConfig::*>;

using Value = std::variant<int64_t, double, bool, std::string>;

enum class Given : uint8_t { required, optional };

// A number must lie in [least, most], or in (least, most) at the ends that are open. Finite always.
struct Limits {
  enum class Ends : uint8_t { closed, open_below, open_above };
  double least = std::numeric_limits<double>::lowest();
  double most = std::numeric_limits<double>::max();
  Ends ends = Ends::closed;
};

using Choices = std::vector<std::string>;

// monostate: any text or either boolean.
using Rule = std::variant<std::monostate, Limits, Choices>;

struct Key {
  std::string name;  // dotted
  Place place;
  Given given = Given::optional;
  Rule rule;
  std::string help;
  std::string derived;  // the default in words where it follows from other keys
};

std::span<const Key> run_config_keys();
const Key* find_key(std::string_view name);  // null when there is none
std::vector<std::string> key_names();

Value value_of(const RunConfig& config, const Key& key);
// `value` has the key's type.
void set_value(RunConfig& config, const Key& key, const Value& value);
// "an integer", "a number", "true or false", "a text".
std::string_view type_in_words(const Key& key);

// What is wrong with a value of the right type: "must be ..."; empty when nothing is.
std::string broken_rule(const Key& key, const Value& value);

}  // namespace centavo
