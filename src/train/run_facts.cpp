#include "train/run_facts.h"

#include <nlohmann/json.hpp>

namespace centavo {
namespace {

using nlohmann::ordered_json;

constexpr int64_t kFormat = 1;

ordered_json facts_json(const std::vector<Fact>& facts) {
  ordered_json json = ordered_json::object();
  for (const Fact& fact : facts) json[fact.label] = fact.value;
  return json;
}

std::vector<Fact> facts_from(const ordered_json& json) {
  std::vector<Fact> facts;
  for (const auto& [label, value] : json.items()) facts.push_back({label, value.get<std::string>()});
  return facts;
}

ordered_json data_json(const DataFacts& data) {
  return {{"source", data.source}, {"documents", data.documents},   {"bytes", data.bytes},
          {"tokens", data.tokens}, {"vocabulary", data.vocabulary}, {"hash", data.hash}};
}

DataFacts data_from(const ordered_json& json) {
  return {.source = json.at("source").get<std::string>(),
          .documents = json.at("documents").get<int64_t>(),
          .bytes = json.at("bytes").get<int64_t>(),
          .tokens = json.at("tokens").get<int64_t>(),
          .vocabulary = json.at("vocabulary").get<int64_t>(),
          .hash = json.at("hash").get<std::string>()};
}

ordered_json machine_json(const MachineFacts& machine) {
  ordered_json json = {{"cpu", machine.cpu},
                       {"cores", machine.cores},
                       {"memory_bytes", machine.memory_bytes},
                       {"os", machine.os},
                       {"libraries", facts_json(machine.libraries)}};
  if (machine.gpu) json["gpu"] = *machine.gpu;
  return json;
}

MachineFacts machine_from(const ordered_json& json) {
  return {.cpu = json.at("cpu").get<std::string>(),
          .cores = json.at("cores").get<int64_t>(),
          .memory_bytes = json.at("memory_bytes").get<int64_t>(),
          .os = json.at("os").get<std::string>(),
          .libraries = facts_from(json.at("libraries")),
          .gpu = json.contains("gpu") ? std::optional(json["gpu"].get<std::string>()) : std::nullopt};
}

ordered_json memory_json(const std::vector<RegionFacts>& regions) {
  ordered_json json = ordered_json::array();
  for (const RegionFacts& region : regions) {
    json.push_back({{"name", region.name}, {"bytes", region.bytes}, {"shared", region.shared}});
  }
  return json;
}

std::vector<RegionFacts> memory_from(const ordered_json& json) {
  std::vector<RegionFacts> regions;
  for (const ordered_json& region : json) {
    regions.push_back(
        {region.at("name").get<std::string>(), region.at("bytes").get<int64_t>(), region.at("shared").get<bool>()});
  }
  return regions;
}

ordered_json baselines_json(const std::vector<BaselineFacts>& baselines) {
  ordered_json json = ordered_json::array();
  for (const BaselineFacts& b : baselines) json.push_back({{"name", b.name}, {"bits_per_byte", b.bits_per_byte}});
  return json;
}

std::vector<BaselineFacts> baselines_from(const ordered_json& json) {
  std::vector<BaselineFacts> baselines;
  for (const ordered_json& baseline : json) {
    baselines.push_back({baseline.at("name").get<std::string>(), baseline.at("bits_per_byte").get<double>()});
  }
  return baselines;
}

std::optional<double> number_from(const ordered_json& json, const char* key) {
  const auto found = json.find(key);
  return found == json.end() ? std::nullopt : std::optional(found->get<double>());
}

}  // namespace

ordered_json to_json(const RunFacts& facts) {
  ordered_json json = {{"format", kFormat},
                       {"name", facts.name},
                       {"version", facts.version},
                       {"commit", facts.commit},
                       {"command", facts.command},
                       {"config", facts.config},
                       {"max_steps", facts.max_steps},
                       {"model", facts_json(facts.model)},
                       {"data", data_json(facts.data)},
                       {"program_hash", facts.program_hash},
                       {"machine", machine_json(facts.machine)},
                       {"threads", facts.threads}};
  if (facts.peak_flops) json["peak_flops"] = *facts.peak_flops;
  if (facts.price_per_hour) json["price_per_hour"] = *facts.price_per_hour;
  json["memory"] = memory_json(facts.memory);
  json["baselines"] = baselines_json(facts.baselines);
  return json;
}

RunFacts run_facts_from_json(const ordered_json& json) {
  return {.name = json.at("name").get<std::string>(),
          .version = json.at("version").get<std::string>(),
          .commit = json.at("commit").get<std::string>(),
          .command = json.at("command").get<std::string>(),
          .config = json.at("config").get<std::string>(),
          .max_steps = json.at("max_steps").get<int64_t>(),
          .model = facts_from(json.at("model")),
          .data = data_from(json.at("data")),
          .program_hash = json.at("program_hash").get<std::string>(),
          .machine = machine_from(json.at("machine")),
          .threads = json.at("threads").get<int64_t>(),
          .peak_flops = number_from(json, "peak_flops"),
          .price_per_hour = number_from(json, "price_per_hour"),
          .memory = memory_from(json.at("memory")),
          .baselines = baselines_from(json.at("baselines"))};
}

}  // namespace centavo
