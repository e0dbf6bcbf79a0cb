#include "cli/profile_place.h"

#include <cstdlib>

#include "base/errors.h"
#include "base/files.h"
#include "machine/cuda/gpu.h"

namespace centavo {
namespace {

MachineCosts costs_of(const OpTable& ops, Profile profile, CostSource::Kind kind, const std::string& file) {
  MachineCosts machine;
  machine.costs = std::make_unique<OpCosts>(std::move(profile));
  machine.source = cost_source(ops, *machine.costs, kind);
  machine.file = file;
  return machine;
}

// As profiles name it; empty where it has no name, or no GPU is here.
std::string machine_here(DeviceKind device) {
  return device == DeviceKind::cpu || gpu_count() > 0 ? device_name(device) : "";
}

bool has_value(const char* text) { return text != nullptr && *text != '\0'; }

}  // namespace

std::string profile_place(const Variables& variable, DeviceKind device) {
  const std::string file = device == DeviceKind::cuda ? "/centavo/profile-cuda.json" : "/centavo/profile.json";
  if (const char* cache = variable("XDG_CACHE_HOME"); has_value(cache)) return cache + file;
  if (const char* home = variable("HOME"); has_value(home)) return home + ("/.cache" + file);
  return "";
}

std::string profile_place(DeviceKind device) {
  return profile_place([](const char* name) { return std::getenv(name); }, device);
}

std::string cache_place() {
  const std::string profile = profile_place(DeviceKind::cpu);
  return profile.empty() ? "" : parent_directory(profile);
}

Profile read_profile_of(DeviceKind device, const std::string& file) {
  Profile profile = read_profile(file);
  if (profile.device != device) {
    user_error("{} is the profile of {} (device {}) and the run computes on {}; add device={} or name another profile",
               file, profile.machine, name_of(profile.device), name_of(device), name_of(profile.device));
  }
  return profile;
}

MachineCosts measured_costs(const OpTable& ops, const std::string& file, DeviceKind device) {
  return costs_of(ops, read_profile_of(device, file), CostSource::Kind::measured, file);
}

MachineCosts costs_on_record(const OpTable& ops, const std::string& file, DeviceKind device) {
  MachineCosts machine = measured_costs(ops, file, device);
  if (const std::string here = machine_here(device); here != machine.source.machine) machine.source.instead_of = here;
  return machine;
}

MachineCosts prior_costs(const OpTable& ops, const Worker& worker) {
  if (worker.device == DeviceKind::cpu) {
    return costs_of(ops, prior_profile(cpu_facts(), worker.threads), CostSource::Kind::prior, "");
  }
  return costs_of(ops, prior_profile(worker.gpu, machine_here(DeviceKind::cuda)), CostSource::Kind::prior, "");
}

}  // namespace centavo
