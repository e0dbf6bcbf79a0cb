// What one machine can do, measured by `centavo bench`, and what an op costs there.
//
// A profile holds ceilings (copy rate, product rate by dtype, disk) and samples: ops that were timed inside the steps
// of programs. The cost of an op is read from the samples of its signature:
//
//   floor(op)  = max(flops / product_rate(dtype), bytes / copy_rate, bytes that cross / rate of the link)  seconds
//   cost(op)   = floor(op) * exp(weighted mean of log(seconds / floor) over the nearest samples)
//
// over the six nearest, each weighted by 1 / distance: the mean square of the differences of the logarithms of the
// extents, plus the square of that of the floors. A sample of the same extents is taken as it is. An op
// without a sample costs its floor times a factor (op_costs.cpp), and is counted in `unknown`.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "machine/make_machine.h"
#include "program/op_table.h"

namespace centavo {

// Behind the dtype of an operand that waits in the host's memory.
inline constexpr std::string_view kOnHost = "@host";

// An op apart from its place in a program: two ops of one case cost the same.
struct OpCase {
  // Kind, dtypes of the operands and which of them wait on the host, which are absent ("-"), bindings, texts:
  // "linear f32 f32 - - - > f32+", "copy bf16 > bf16@host".
  std::string signature;
  std::vector<int64_t> extents;  // of the operands in order, then whole attributes that set the work (heads, chunk)
  Cost cost;
};

OpCase case_of(const OpTable& ops, const Program& program, const Op& op);

struct OpSample {
  std::string signature;
  std::vector<int64_t> extents;
  double flops = 0;
  double bytes = 0;
  double seconds = 0;  // of a call (plan/op_times.h)
};

// When and with which program something was measured.
struct ProfileStamp {
  std::string commit;
  std::string date;  // ISO 8601
  bool operator==(const ProfileStamp&) const = default;
};

struct Profile {
  DeviceKind device = DeviceKind::cpu;
  std::string machine = {};   // processor or card, as the system names it
  std::string features = {};  // instruction sets that matter
  int architecture = 0;       // of a GPU, as in CudaTraits, and 0 of a processor
  int multiprocessors = 0;
  int threads = 1;                                   // of the processor
  std::string commit = {};                           // of the program that measured
  std::string date = {};                             // ISO 8601
  double copy_bytes_per_second = 0;                  // read + written
  double to_device_bytes_per_second = 0;             // from the host's memory to the device's; 0: not known
  double to_host_bytes_per_second = 0;               // and back
  std::map<std::string, double> product_flops = {};  // per second, by dtype of the operands
  double disk_read_bytes_per_second = 0;             // 0: not known
  double disk_write_bytes_per_second = 0;
  std::vector<ProfileStamp> runs = {};  // measured into it later; their samples replaced those of the same ops
  double disturbed_share = 0;           // of the timed calls: those that another process interrupted
  std::vector<OpSample> samples = {};

  // The time of an op at the ceilings. Operands that lie in a cache may be moved faster.
  double floor_seconds(const OpCase& op) const;
  // Adds samples; one of the same signature and extents is replaced.
  void take(const std::vector<OpSample>& newer);
};

// JSON; throws UserError for a file that is no profile, IoError where the disk refuses.
Profile read_profile(const std::filesystem::path& file);
void write_profile(const Profile& profile, const std::filesystem::path& file);

// Costs of ops, with what was found remembered.
class OpCosts {
 public:
  explicit OpCosts(Profile profile);
  double seconds(const OpCase& op);
  const Profile& profile() const { return profile_; }
  // Signatures that had no sample.
  const std::vector<std::string>& unknown() const { return unknown_; }

 private:
  double floor_of(const OpCase& op) const;
  double computed(const OpCase& op);

  Profile profile_;
  std::multimap<std::string, size_t> by_signature_;  // of profile_.samples
  std::map<std::pair<std::string, std::vector<int64_t>>, double> known_;
  std::vector<std::string> unknown_;
};

}  // namespace centavo
