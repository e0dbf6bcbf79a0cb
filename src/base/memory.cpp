#include "base/memory.h"

#include <sys/resource.h>

#include <algorithm>
#include <charconv>
#include <fstream>
#include <iterator>
#include <limits>

namespace centavo {
namespace {

constexpr int64_t kUnlimited = std::numeric_limits<int64_t>::max();

// Empty when the file cannot be read.
std::string contents(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::optional<int64_t> leading_integer(const std::string& text) {
  int64_t value = 0;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
  return failure == std::errc() ? std::optional(value) : std::nullopt;
}

int64_t system_bytes() { return kilobyte_field(contents("/proc/meminfo"), "MemAvailable").value_or(kUnlimited); }

// "max" is no integer and limits nothing.
int64_t group_bytes(const std::string& directory) {
  const auto limit = leading_integer(contents(directory + "/memory.max"));
  const auto used = leading_integer(contents(directory + "/memory.current"));
  return limit && used ? std::max<int64_t>(0, *limit - *used) : kUnlimited;
}

// The line "0::/path" of /proc/self/cgroup names the group.
int64_t groups_bytes() {
  const std::string groups = contents("/proc/self/cgroup");
  const size_t at = groups.find("0::/");
  if (at == std::string::npos) return kUnlimited;
  std::string path = groups.substr(at + 3, groups.find('\n', at) - at - 3);
  int64_t least = group_bytes("/sys/fs/cgroup");
  for (; path.size() > 1; path.resize(path.rfind('/'))) least = std::min(least, group_bytes("/sys/fs/cgroup" + path));
  return least;
}

int64_t address_space_bytes() {
  rlimit limit{};
  if (::getrlimit(RLIMIT_AS, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY) return kUnlimited;
  const int64_t used = kilobyte_field(contents("/proc/self/status"), "VmSize").value_or(0);
  return std::max<int64_t>(0, static_cast<int64_t>(limit.rlim_cur) - used);
}

}  // namespace

std::optional<int64_t> kilobyte_field(const std::string& text, const std::string& field) {
  const size_t at = ("\n" + text).find("\n" + field + ":");
  if (at == std::string::npos) return std::nullopt;
  const size_t digits = text.find_first_not_of(" \t", at + field.size() + 1);
  if (digits == std::string::npos) return std::nullopt;
  const auto kilobytes = leading_integer(text.substr(digits, 20));
  return kilobytes ? std::optional(*kilobytes * 1024) : std::nullopt;
}

int64_t available_memory_bytes() { return std::min({system_bytes(), groups_bytes(), address_space_bytes()}); }

}  // namespace centavo
