#include "base/process_stat.h"

#include <fmt/format.h>

#include <fstream>
#include <sstream>
#include <string>

namespace centavo {
namespace {

// "PID (NAME) STATE …"; the name may hold anything, brackets and spaces too, so counting starts behind the last one.
std::optional<ProcessStat> parse(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  if (!std::getline(file, line, '\0')) return {};
  const size_t name_end = line.rfind(')');
  if (name_end == line.npos) return {};
  std::istringstream fields(line.substr(name_end + 1));
  ProcessStat stat;
  fields >> stat.state;
  constexpr int kBetweenStateAndStart = 18;
  std::string skipped;
  for (int i = 0; i < kBetweenStateAndStart; ++i) fields >> skipped;
  fields >> stat.start_ticks;
  if (!fields) return {};
  return stat;
}

}  // namespace

std::optional<ProcessStat> process_stat(pid_t pid) { return parse(fmt::format("/proc/{}/stat", pid)); }

std::optional<ProcessStat> thread_stat(pid_t pid, pid_t thread) {
  return parse(fmt::format("/proc/{}/task/{}/stat", pid, thread));
}

bool still_runs(pid_t pid, uint64_t start_ticks) {
  const std::optional<ProcessStat> stat = process_stat(pid);
  return stat && stat->start_ticks == start_ticks && stat->state != 'Z' && stat->state != 'X';
}

}  // namespace centavo
