#include "train/record_facts.h"

#include <sys/utsname.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include <dnnl.hpp>
#include <filesystem>
#include <fstream>

#include "passes/place.h"
#include "train/run_data.h"
#include "train/version.h"

namespace centavo {
namespace {

// The value of the first line `KEY: value` or `KEY=value` of a file of the system; empty when there is none.
std::string system_value(const std::string& path, const std::string& key, char separator) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    const size_t at = line.find(separator);
    if (at == std::string::npos || line.compare(0, line.find_last_not_of(" \t", at - 1) + 1, key) != 0) continue;
    const size_t value = line.find_first_not_of(" \t\"", at + 1);
    if (value == std::string::npos) continue;
    return line.substr(value, line.find_last_not_of("\" \t") - value + 1);
  }
  return {};
}

int64_t memory_of_machine() { return static_cast<int64_t>(::sysconf(_SC_PHYS_PAGES)) * ::sysconf(_SC_PAGE_SIZE); }

std::string system_name() {
  utsname name{};
  ::uname(&name);
  const std::string distribution = system_value("/etc/os-release", "PRETTY_NAME", '=');
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
  int64_t parameters = 0;
  for (const Buffer& b : program.buffers) {
    if (b.kind == BufferKind::parameter) parameters += b.elements();
  }
  return {{"architecture", m.model_type},
          {"parameters", fmt::format("{}", parameters)},
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
  return {.cpu = system_value("/proc/cpuinfo", "model name", ':'),
          .cores = ::sysconf(_SC_NPROCESSORS_ONLN),
          .memory_bytes = memory_of_machine(),
          .os = system_name(),
          .libraries = libraries()};
}

RunFacts record_facts(const RunConfig& config, const Program& program, uint64_t program_hash, const Corpus& corpus) {
  RunFacts facts = {.name = std::filesystem::absolute(config.out).lexically_normal().filename().string(),
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
