#include "plan/calibrate.h"

#include <fmt/ranges.h>

#include "base/disk_rate.h"
#include "base/errors.h"
#include "base/host.h"
#include "plan/ceilings.h"
#include "plan/op_times.h"
#include "plan/run_probe.h"

namespace centavo {
namespace {

TimingEffort effort_of(Ladder ladder, DeviceKind device) {
  const bool quick = ladder == Ladder::quick;
  if (device == DeviceKind::cuda) {
    return {.least_steps = 3, .most_steps = 200, .seconds = quick ? 0.8 : 1.5, .warm_up_seconds = quick ? 0.4 : 1};
  }
  if (quick) return {.least_steps = 3, .most_steps = 12, .seconds = 0.3};
  return {.least_steps = 3, .most_steps = 30, .seconds = 1};
}

TimingEffort run_effort(Ladder ladder, DeviceKind device) {
  TimingEffort effort = {.least_steps = 3, .most_steps = 1000, .seconds = 8};
  if (device == DeviceKind::cuda) effort.warm_up_seconds = 3;
  if (ladder == Ladder::full) return effort;
  effort.seconds /= 5;
  effort.warm_up_seconds /= 5;
  return effort;
}

int64_t disk_bytes_of(Ladder ladder) { return int64_t{ladder == Ladder::quick ? 32 : 256} << 20; }

void describe_processor(Profile& profile) {
  const CpuFacts cpu = cpu_facts();
  profile.machine = cpu.model.empty() ? "unknown" : cpu.model;
  profile.features = fmt::format("{}", fmt::join(cpu.features, " "));
}

void describe_gpu(const CudaTraits& gpu, Profile& profile) {
  profile.machine = device_name(DeviceKind::cuda);
  profile.features = fmt::format("architecture {}, {} multiprocessors", gpu.architecture, gpu.multiprocessors);
  profile.architecture = gpu.architecture;
  profile.multiprocessors = gpu.multiprocessors;
}

}  // namespace

Profile profile_of_device(const Worker& worker) {
  Profile profile;
  profile.device = worker.device;
  profile.threads = worker.threads;
  if (profile.device == DeviceKind::cuda) {
    describe_gpu(worker.gpu, profile);
  } else {
    describe_processor(profile);
  }
  return profile;
}

Profile measure_ceilings(const OpTable& ops, const Calibration& c) {
  Profile profile = profile_of_device(c.worker);
  add_ceilings(ops, c.worker, profile);
  const DiskRate disk = measured_disk_rate(c.disk_directory, disk_bytes_of(c.ladder));
  profile.disk_write_bytes_per_second = disk.write_bytes_per_second;
  profile.disk_read_bytes_per_second = disk.read_bytes_per_second;
  return profile;
}

Profile calibrate(const OpTable& ops, const Calibration& c) {
  const DeviceKind device = c.worker.device;
  const std::vector<RunConfig> probes = ladder(c.ladder, device);
  const auto parts = static_cast<int64_t>(probes.size()) + 1;
  c.progress(0, parts, "copy, product and disk rates");
  Profile profile = measure_ceilings(ops, c);
  OpTimes times(typical_on(device));
  for (size_t i = 0; i < probes.size(); ++i) {
    const std::string name = name_of_probe(probes[i]);
    const auto part = static_cast<int64_t>(i) + 1;
    c.progress(part, parts, name);
    try {
      Program program = probe_program(ops, probes[i], c.worker, c.memory_bytes);
      time_ops(ops, std::move(program), probes[i], c.worker, effort_of(c.ladder, device), times);
    } catch (const OutOfMemory&) {
      c.progress(part, parts, name + ": passed over, too large for this machine");
    }
  }
  profile.samples = times.samples();
  profile.disturbed_share = times.disturbed_share();
  return profile;
}

void calibrate_run(const OpTable& ops, const RunConfig& config, const Calibration& c, Profile& profile) {
  CHECK(profile.device == c.worker.device, "a profile of another device");
  RunProbe probe = probe_of_run(ops, config, c.worker, c.memory_bytes);
  c.progress(0, 1, "a step of " + name_of_probe(probe.config));
  OpTimes times(typical_on(profile.device));
  time_ops(ops, std::move(probe.program), probe.config, c.worker, run_effort(c.ladder, profile.device), times);
  profile.take(times.samples());
}

}  // namespace centavo
