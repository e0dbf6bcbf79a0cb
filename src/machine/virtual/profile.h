// What one machine can do, measured by `centavo bench`, and what an op costs there.
//
// A profile holds ceilings (copy rate, product rate by dtype, disk) and samples: ops that were timed inside small probe
// programs. The cost of an op is read from the samples of its signature:
//
//   floor(op)  = max(flops / product_rate(dtype), bytes / copy_rate)                                       seconds
//   cost(op)   = floor(op) * exp(weighted mean of log(seconds / floor) over the nearest samples)
//
// nearest by distance between the logarithms of the extents; a sample of the same extents is taken as it is. An op
// without a sample costs its floor times `kUnknownFactor`, and is counted in `unknown`.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "program/op_table.h"

namespace centavo {

// An op apart from its place in a program: two ops of one case cost the same.
struct OpCase {
  std::string signature;         // kind, dtypes of the operands, which are absent, bindings: "linear f32 f32 - > f32+"
  std::vector<int64_t> extents;  // of the operands in order, then whole attributes that set the work (heads, chunk)
  Cost cost;
};

OpCase case_of(const OpTable& ops, const Program& program, const Op& op);

struct OpSample {
  std::string signature;
  std::vector<int64_t> extents;
  double flops = 0;
  double bytes = 0;
  double seconds = 0;  // median
};

struct Profile {
  std::string machine;  // processor or card, as the system names it
  std::string features;  // instruction sets that matter
  int threads = 1;
  std::string commit;  // of the program that measured
  std::string date;    // ISO 8601
  double copy_bytes_per_second = 0;            // read + written
  std::map<std::string, double> product_flops;  // per second, by dtype of the operands
  double disk_read_bytes_per_second = 0;
  double disk_write_bytes_per_second = 0;
  std::vector<OpSample> samples;

  // Seconds that no implementation can beat on this machine.
  double floor_seconds(const OpCase& op) const;
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
  Profile profile_;
  std::multimap<std::string, size_t> by_signature_;
  std::vector<std::string> unknown_;
};

}  // namespace centavo
