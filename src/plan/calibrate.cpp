#include "plan/calibrate.h"

#include "base/disk_rate.h"
#include "base/errors.h"
#include "plan/ceilings.h"
#include "plan/op_times.h"

namespace centavo {
namespace {

TimingEffort effort_of(Ladder ladder) {
  if (ladder == Ladder::quick) return {.least_steps = 3, .most_steps = 12, .seconds = 0.3};
  return {.least_steps = 3, .most_steps = 30, .seconds = 1};
}

int64_t disk_bytes_of(Ladder ladder) { return int64_t{ladder == Ladder::quick ? 32 : 256} << 20; }

void measure_ceilings(const Calibration& c, Profile& profile) {
  profile.copy_bytes_per_second = measured_copy_rate(c.threads);
  profile.product_flops = measured_product_rates(c.threads);
  const DiskRate disk = measured_disk_rate(c.disk_directory, disk_bytes_of(c.ladder));
  profile.disk_write_bytes_per_second = disk.write_bytes_per_second;
  profile.disk_read_bytes_per_second = disk.read_bytes_per_second;
}

}  // namespace

Profile calibrate(const OpTable& ops, const Calibration& c) {
  const std::vector<RunConfig> probes = ladder(c.ladder);
  const auto parts = static_cast<int64_t>(probes.size()) + 1;
  Profile profile;
  profile.threads = c.threads;
  c.progress(0, parts, "copy, product and disk rates");
  measure_ceilings(c, profile);
  OpTimes times;
  for (size_t i = 0; i < probes.size(); ++i) {
    const std::string name = name_of_probe(probes[i]);
    const auto part = static_cast<int64_t>(i) + 1;
    c.progress(part, parts, name);
    try {
      time_ops(ops, probes[i], c.threads, c.memory_bytes, effort_of(c.ladder), times);
    } catch (const OutOfMemory&) {
      c.progress(part, parts, name + ": passed over, too large for this machine");
    }
  }
  profile.samples = times.samples();
  profile.disturbed_share = times.disturbed_share();
  return profile;
}

}  // namespace centavo
