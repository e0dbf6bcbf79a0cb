#include <algorithm>
#include <array>

#include "base/nearest.h"
#include "passes/shard.h"

namespace centavo {
namespace {

struct Row {
  const char* name;
  ShardRule rule;
};

constexpr std::array<Row, 6> kRows = {{
    {"ddp", {Cut::whole, Cut::whole, Cut::whole}},
    {"zero1", {Cut::whole, Cut::whole, Cut::all}},
    {"zero2", {Cut::whole, Cut::all, Cut::all}},
    {"zero3", {Cut::all, Cut::all, Cut::all}},
    {"hybrid", {Cut::local, Cut::local, Cut::local}},
    {"hybrid-full", {Cut::local, Cut::all, Cut::all}},
}};

}  // namespace

const std::vector<std::string>& shard_rule_names() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> all;
    all.reserve(std::size(kRows));
    for (const Row& row : kRows) all.emplace_back(row.name);
    return all;
  }();
  return names;
}

ShardRule shard_rule(const std::string& name) {
  const auto row = std::ranges::find_if(kRows, [&](const Row& r) { return name == r.name; });
  if (row == kRows.end()) {
    user_error("there is no sharding '{}'; use one of {}{}", name, fmt::join(shard_rule_names(), ", "),
               did_you_mean(name, shard_rule_names()));
  }
  return row->rule;
}

}  // namespace centavo
