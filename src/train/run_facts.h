// What is known of a run before its first step: enough to repeat it. The first line of metrics.jsonl and run.json.
//
// As JSON an object with the fields of the structs below, snake_case, in this order, after "format": 1; lists of facts
// are objects {label: value}; an absent optional is an absent field. Strings are bytes from the user: the writer
// replaces what is not UTF-8 by U+FFFD.
#pragma once

#include <cstdint>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

namespace centavo {

struct Fact {
  std::string label;
  std::string value;
  bool operator==(const Fact&) const = default;
};

struct DataFacts {
  std::string source;  // what the user named
  int64_t documents = 0;
  int64_t bytes = 0;
  int64_t tokens = 0;
  int64_t vocabulary = 0;
  std::string hash;
  bool operator==(const DataFacts&) const = default;
};

struct MachineFacts {
  std::string cpu;
  int64_t cores = 0;
  int64_t memory_bytes = 0;
  std::string os;
  std::vector<Fact> libraries;          // name, version
  std::optional<std::string> gpu = {};  // where one computes
  bool operator==(const MachineFacts&) const = default;
};

struct RegionFacts {
  std::string name;
  int64_t bytes = 0;
  bool shared = false;  // the sum over buffers, more than they occupy together
  bool operator==(const RegionFacts&) const = default;
};

// What another compressor needs for the validation text, say "gzip -9".
struct BaselineFacts {
  std::string name;
  double bits_per_byte = 0;
  bool operator==(const BaselineFacts&) const = default;
};

struct RunFacts {
  std::string name;
  std::string version;  // of centavo
  std::string commit;
  std::string command;  // as typed
  std::string config;   // the resolved run file, TOML
  int64_t max_steps = 0;
  std::vector<Fact> model;  // parameters, layers, …
  DataFacts data;
  std::string program_hash;
  MachineFacts machine;
  int64_t threads = 0;
  std::optional<double> peak_flops;      // measured, per second
  std::optional<double> price_per_hour;  // dollars
  std::vector<RegionFacts> memory;
  std::vector<BaselineFacts> baselines;
  bool operator==(const RunFacts&) const = default;
};

nlohmann::ordered_json to_json(const RunFacts& facts);

// Throws nlohmann's exceptions for what is missing or of another type; the caller knows the file and the line.
RunFacts run_facts_from_json(const nlohmann::ordered_json& json);

}  // namespace centavo
