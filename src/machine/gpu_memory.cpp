#include "machine/gpu_memory.h"

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <fstream>

namespace centavo {
namespace {

// What a GPU keeps for itself and for the context of this process.
constexpr int64_t kContextBytes = int64_t{1} << 30;

std::string gibibytes(int64_t bytes) { return fmt::format("{:.1f} GiB", static_cast<double>(bytes) / (1 << 30)); }

// Empty for a process of another container.
std::string program_of(int64_t pid) {
  std::ifstream file(fmt::format("/proc/{}/comm", pid));
  std::string name;
  std::getline(file, name);
  return name;
}

std::string named(const GpuProcess& process) {
  const std::string program = program_of(process.pid);
  std::vector<std::string> facts;
  if (!program.empty()) facts.push_back(program);
  if (process.bytes) facts.push_back(gibibytes(*process.bytes));
  return fmt::format("process {}{}", process.pid, facts.empty() ? "" : fmt::format(" ({})", fmt::join(facts, ", ")));
}

std::string names_of_others(const std::vector<GpuProcess>& processes) {
  std::vector<std::string> names;
  for (const GpuProcess& process : processes) {
    if (process.pid != ::getpid()) names.push_back(named(process));
  }
  const bool ids_are_ours = names.size() < processes.size();
  if (!ids_are_ours || names.empty()) return "other processes, which nvidia-smi may name";
  return fmt::format("{}", fmt::join(names, ", "));
}

}  // namespace

std::string held_by_others(const std::string& what, int64_t needed_bytes, const GpuMemory& memory) {
  const int64_t could_be_free = memory.total_bytes - memory.own_bytes - kContextBytes;
  if (needed_bytes <= memory.free_bytes || needed_bytes > could_be_free) return {};
  return fmt::format(
      "{} needs {} of memory and {} of the {} of {} are free, {} held by {}; end what need not run, or use "
      "memory = \"…GiB\" or a smaller micro_batch",
      what, gibibytes(needed_bytes), gibibytes(memory.free_bytes), gibibytes(memory.total_bytes), memory.gpu,
      memory.own_bytes > 0 ? fmt::format("{} are this run's own and the rest is", gibibytes(memory.own_bytes))
                           : "the rest is",
      names_of_others(memory.processes));
}

}  // namespace centavo
