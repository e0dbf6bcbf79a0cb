#include "cli/profile_place.h"

#include <cstdlib>

#include "base/files.h"

namespace centavo {
namespace {

MachineCosts costs_of(const OpTable& ops, Profile profile, CostSource::Kind kind, const std::string& file) {
  MachineCosts machine;
  machine.costs = std::make_unique<OpCosts>(std::move(profile));
  machine.source = cost_source(ops, *machine.costs, kind);
  machine.file = file;
  return machine;
}

bool has_value(const char* text) { return text != nullptr && *text != '\0'; }

}  // namespace

std::string profile_place(const Variables& variable) {
  const std::string file = "/centavo/profile.json";
  if (const char* cache = variable("XDG_CACHE_HOME"); has_value(cache)) return cache + file;
  if (const char* home = variable("HOME"); has_value(home)) return home + ("/.cache" + file);
  return "";
}

std::string profile_place() {
  return profile_place([](const char* name) { return std::getenv(name); });
}

std::string cache_place() {
  const std::string profile = profile_place();
  return profile.empty() ? "" : parent_directory(profile);
}

MachineCosts measured_costs(const OpTable& ops, const std::string& file) {
  return costs_of(ops, read_profile(file), CostSource::Kind::measured, file);
}

MachineCosts prior_costs(const OpTable& ops, int threads) {
  return costs_of(ops, prior_profile(cpu_facts(), threads), CostSource::Kind::prior, "");
}

}  // namespace centavo
