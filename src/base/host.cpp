#include "base/host.h"

#include <fmt/format.h>
#include <sched.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>

namespace centavo {
namespace {

namespace fs = std::filesystem;

// Empty when it cannot be read: files of /proc and /sys come and go.
std::string text_of(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream text;
  if (file) text << file.rdbuf();
  return text.str();
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

std::string trimmed(const std::string& text) {
  const size_t first = text.find_first_not_of(" \t\n");
  return first == std::string::npos ? "" : text.substr(first, text.find_last_not_of(" \t\n") - first + 1);
}

// What follows "KEY :" or "KEY:" in the first line that has it.
std::string field(const std::string& text, const std::string& key) {
  for (const std::string& line : lines_of(text)) {
    const size_t colon = line.find(':');
    if (colon != std::string::npos && trimmed(line.substr(0, colon)) == key) return trimmed(line.substr(colon + 1));
  }
  return "";
}

std::optional<int64_t> leading_integer(const std::string& text) {
  int64_t value = 0;
  const auto [stop, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (failure != std::errc()) return std::nullopt;
  return value;
}

// 0 for what is no number.
double leading_number(const std::string& text) {
  double value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value;
}

std::vector<std::string> words_of(const std::string& text) {
  std::istringstream stream(text);
  return {std::istream_iterator<std::string>(stream), {}};
}

// The process's cgroup of one controller: ROOT/sys/fs/cgroup/… and the path below it.
struct Cgroup {
  std::string mount;
  std::string path;
  bool unified = true;  // version 2
};

std::vector<Cgroup> cgroups_of(const std::string& root, const std::string& controller) {
  std::vector<Cgroup> found;
  for (const std::string& line : lines_of(text_of(root + "/proc/self/cgroup"))) {
    const size_t first = line.find(':');
    const size_t second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string names = line.substr(first + 1, second - first - 1);
    const std::string path = line.substr(second + 1);
    if (names.empty()) found.push_back({root + "/sys/fs/cgroup", path, true});
    if (("," + names + ",").find("," + controller + ",") != std::string::npos) {
      found.push_back({fmt::format("{}/sys/fs/cgroup/{}", root, controller), path, false});
    }
  }
  return found;
}

// The group's directory and those above it, up to the mount. In a container the path may lie outside of what is
// mounted; then the mount itself is the group.
std::vector<std::string> directories_of(const Cgroup& group) {
  std::vector<std::string> all;
  for (fs::path path = group.path; path.has_relative_path(); path = path.parent_path()) {
    all.push_back(group.mount + path.string());
  }
  all.push_back(group.mount);
  return all;
}

std::optional<double> quota_in(const std::string& directory, bool unified) {
  if (unified) {
    const std::vector<std::string> words = words_of(text_of(directory + "/cpu.max"));
    if (words.size() != 2) return std::nullopt;
    const auto quota = leading_integer(words[0]);
    const auto period = leading_integer(words[1]);
    if (!quota || !period || *period <= 0) return std::nullopt;
    return static_cast<double>(*quota) / static_cast<double>(*period);
  }
  const auto quota = leading_integer(text_of(directory + "/cpu.cfs_quota_us"));
  const auto period = leading_integer(text_of(directory + "/cpu.cfs_period_us"));
  if (!quota || !period || *quota <= 0 || *period <= 0) return std::nullopt;
  return static_cast<double>(*quota) / static_cast<double>(*period);
}

std::optional<int64_t> memory_limit_in(const std::string& directory, bool unified) {
  const auto limit = leading_integer(text_of(directory + (unified ? "/memory.max" : "/memory.limit_in_bytes")));
  constexpr int64_t kNone = int64_t{1} << 60;  // version 1 writes a huge number for no limit
  return limit && *limit < kNone ? limit : std::nullopt;
}

template <class T, class Read>
std::optional<T> tightest(const std::string& root, const std::string& controller, Read read) {
  std::optional<T> least;
  for (const Cgroup& group : cgroups_of(root, controller)) {
    for (const std::string& directory : directories_of(group)) {
      const std::optional<T> limit = read(directory, group.unified);
      if (limit && (!least || *limit < *least)) least = limit;
    }
  }
  return least;
}

int64_t usable_processors() {
  cpu_set_t set;
  CPU_ZERO(&set);
  return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : sysconf(_SC_NPROCESSORS_ONLN);
}

int64_t kibibytes(const std::string& meminfo, const std::string& key) {
  return leading_integer(field(meminfo, key)).value_or(0) * 1024;
}

// The highest "cpu MHz" of all processors.
double clock_of(const std::string& cpuinfo) {
  double mhz = 0;
  for (const std::string& line : lines_of(cpuinfo)) {
    if (line.starts_with("cpu MHz")) mhz = std::max(mhz, leading_number(field(line, "cpu MHz")));
  }
  return mhz * 1e6;
}

}  // namespace

const std::vector<std::string>& known_cpu_features() {
  static const std::vector<std::string> names = {"avx2",     "fma",         "f16c",     "avx512f",
                                                 "avx512bw", "avx512_bf16", "avx_vnni", "avx512_vnni",
                                                 "amx_tile", "amx_bf16",    "amx_int8"};
  return names;
}

CpuFacts cpu_facts(const std::string& root) {
  const std::string info = text_of(root + "/proc/cpuinfo");
  CpuFacts facts;
  facts.model = field(info, "model name");
  const std::vector<std::string> flags = words_of(field(info, "flags"));
  for (const std::string& name : known_cpu_features()) {
    if (std::ranges::count(flags, name) > 0) facts.features.push_back(name);
  }
  facts.clock_hz = clock_of(info);
  facts.online = sysconf(_SC_NPROCESSORS_ONLN);
  facts.usable = usable_processors();
  facts.quota = tightest<double>(root, "cpu", quota_in);
  return facts;
}

MemoryFacts memory_facts(const std::string& root) {
  const std::string info = text_of(root + "/proc/meminfo");
  return {kibibytes(info, "MemTotal"), kibibytes(info, "MemAvailable"),
          tightest<int64_t>(root, "memory", memory_limit_in)};
}

int64_t free_disk_bytes(const std::string& path) {
  struct statvfs status = {};
  if (::statvfs(path.c_str(), &status) != 0) return 0;
  return static_cast<int64_t>(status.f_bavail) * static_cast<int64_t>(status.f_frsize);
}

std::string find_program(const std::string& name, const std::string& path_variable) {
  std::istringstream stream(path_variable);
  for (std::string directory; std::getline(stream, directory, ':');) {
    std::string path = (directory.empty() ? "." : directory) + "/" + name;
    if (::access(path.c_str(), X_OK) == 0 && fs::is_regular_file(path)) return path;
  }
  return "";
}

}  // namespace centavo
