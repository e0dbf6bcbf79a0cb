#include "train/record_facts.h"

#include <sys/utsname.h>
#include <zlib.h>
#include <zstd.h>

#include <dnnl.hpp>
#include <filesystem>
#include <fstream>

#include "base/host.h"
#include "passes/place.h"
#include "train/plan_text.h"
#include "train/run_data.h"
#include "train/version.h"

namespace centavo {
namespace {

// PRETTY_NAME of /etc/os-release; empty when there is none.
std::string distribution_name() {
  constexpr std::string_view kKey = "PRETTY_NAME=\"";
  std::ifstream file("/etc/os-release");
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with(kKey)) return line.substr(kKey.size(), line.rfind('"') - kKey.size());
  }
  return {};
}

std::string system_name() {
  utsname name{};
  ::uname(&name);
  const std::string distribution = distribution_name();
  return fmt::format("{}{}{} {}", distribution, distribution.empty() ? "" : ", ", name.sysname, name.release);
}

std::vector<Fact> libraries() {
  const dnnl_version_t* onednn = dnnl_version();
  return {{"oneDNN", fmt::format("{}.{}.{}", onednn->major, onednn->minor, onednn->patch)},
          {"fmt", fmt::format("{}.{}.{}", FMT_VERSION / 10000, FMT_VERSION / 100 % 100, FMT_VERSION % 100)},
          {"zlib", zlibVersion()},
          {"zstd", ZSTD_versionString()},
          {"compiler", fmt::format("g++ {}.{}.{}", __GNUC__, __GNUC_MINOR__, __GNUC_PATCHLEVEL__)}};
}

std::vector<Fact> model_facts(const ModelConfig& m, const Program& program) {
  return {{"architecture", fmt::format("{}, {}, {} positions", m.norm, m.activation, m.positions)},
          {"parameters", fmt::format("{}", parameter_count(program))},
          {"layers", fmt::format("{}", m.num_hidden_layers)},
          {"hidden size", fmt::format("{}", m.hidden_size)},
          {"feed-forward size", fmt::format("{}", m.intermediate_size)},
          {"query heads", fmt::format("{}", m.num_attention_heads)},
          {"key/value heads", fmt::format("{}", m.num_key_value_heads)},
          {"vocabulary", fmt::format("{}", m.vocab_size)},
          {"tied embeddings", m.tie_word_embeddings ? "yes" : "no"}};
}

}  // namespace

MachineFacts machine_facts() {
  return {.cpu = cpu_facts().model,
          .cores = cpu_facts().online,
          .memory_bytes = memory_facts().total_bytes,
          .os = system_name(),
          .libraries = libraries()};
}

// Behind a slash at the end stands an empty name.
std::string run_name(const std::string& out_dir) {
  const std::filesystem::path path = std::filesystem::absolute(out_dir).lexically_normal();
  return (path.has_filename() ? path : path.parent_path()).filename().string();
}

RunFacts record_facts(const RunConfig& config, const Program& program, uint64_t program_hash, const Corpus& corpus) {
  RunFacts facts = {.name = run_name(config.out),
                    .version = kVersion,
                    .commit = kCommit,
                    .command = {},
                    .config = print(config),
                    .max_steps = config.max_steps,
                    .model = model_facts(config.model, program),
                    .data = data_facts(config, corpus),
                    .program_hash = fmt::format("{:016x}", program_hash),
                    .machine = machine_facts(),
                    .threads = 0,
                    .peak_flops = {},
                    .price_per_hour = {},
                    .memory = {},
                    .baselines = baselines_of(corpus)};
  if (config.price_per_hour != kNoPrice) facts.price_per_hour = config.price_per_hour;
  for (const RegionBytes& region : regions(program)) {
    facts.memory.push_back({std::string(name_of(region.kind)), region.bytes, region.shares});
  }
  return facts;
}

}  // namespace centavo
