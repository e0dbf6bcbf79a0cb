#include "plan/profile_table.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <vector>

#include "train/units.h"

namespace centavo {
namespace {

// Shares of interrupted calls above this are told.
constexpr double kMuchDisturbed = 0.05;

std::string kind_of(const std::string& signature) { return signature.substr(0, signature.find(' ')); }

// The dtype of the first operand there is.
std::string dtype_of(const std::string& signature) {
  size_t at = signature.find(' ');
  while (at != std::string::npos && signature.compare(at, 2, " -") == 0) at = signature.find(' ', at + 1);
  if (at == std::string::npos) return {};
  return signature.substr(at + 1, signature.find(' ', at + 1) - at - 1);
}

std::string rate_text(double per_second, const char* unit) {
  return per_second > 0 ? short_count(per_second) + unit : "not known";
}

std::string ceilings(const Profile& p) {
  const bool gpu = p.device == DeviceKind::cuda;
  std::string text =
      fmt::format("{:<14}{}{}\n", "machine", p.machine, gpu ? "" : fmt::format(", {} threads", p.threads));
  text += fmt::format("{:<14}{}\n", "features", p.features);
  text += fmt::format("{:<14}{}\n", "copy", rate_text(p.copy_bytes_per_second, "B/s read and written"));
  if (gpu) {
    text += fmt::format("{:<14}{}\n", "to the GPU", rate_text(p.to_device_bytes_per_second, "B/s"));
    text += fmt::format("{:<14}{}\n", "to the host", rate_text(p.to_host_bytes_per_second, "B/s"));
  }
  for (const auto& [dtype, rate] : p.product_flops) {
    text += fmt::format("{:<14}{}\n", "product " + dtype, rate_text(rate, "FLOP/s"));
  }
  text += fmt::format("{:<14}{}\n", "disk write", rate_text(p.disk_write_bytes_per_second, "B/s"));
  text += fmt::format("{:<14}{}\n", "disk read", rate_text(p.disk_read_bytes_per_second, "B/s"));
  return text;
}

struct Row {
  std::vector<double> shares;
  double fastest = 0;
  double slowest = 0;
};

void add(Row& row, double share, double seconds) {
  row.fastest = row.shares.empty() ? seconds : std::min(row.fastest, seconds);
  row.slowest = std::max(row.slowest, seconds);
  row.shares.push_back(share);
}

}  // namespace

double share_of_floor(const Profile& profile, const OpSample& sample) {
  const Cost cost{.flops = sample.flops, .bytes = sample.bytes};
  return profile.floor_seconds({sample.signature, sample.extents, cost}) / sample.seconds;
}

std::string profile_table(const Profile& profile) {
  std::map<std::pair<std::string, std::string>, Row> rows;
  for (const OpSample& sample : profile.samples) {
    add(rows[{kind_of(sample.signature), dtype_of(sample.signature)}], share_of_floor(profile, sample), sample.seconds);
  }
  std::string text = ceilings(profile);
  text += fmt::format("\n{:<20}{:<6}{:>8}{:>22}  {}\n", "op", "", "samples", "least, most us",
                      "share of floor: least, median, most");
  for (auto& [key, row] : rows) {
    std::ranges::sort(row.shares);
    text += fmt::format("{:<20}{:<6}{:>8}{:>11.1f}{:>11.0f}{:>8.2f}{:>8.2f}{:>8.2f}\n", key.first, key.second,
                        row.shares.size(), 1e6 * row.fastest, 1e6 * row.slowest, row.shares.front(),
                        row.shares[row.shares.size() / 2], row.shares.back());
  }
  if (profile.disturbed_share > kMuchDisturbed) {
    text +=
        fmt::format("\nOther processes interrupted {:.0f} % of the calls; measure again when the machine is quiet.\n",
                    100 * profile.disturbed_share);
  }
  return text;
}

std::string op_table_text(const Profile& profile, const std::string& kind) {
  std::string rows;
  for (const OpSample& sample : profile.samples) {
    if (kind_of(sample.signature) != kind) continue;
    const double share = share_of_floor(profile, sample);
    rows += fmt::format("{:>12.1f}{:>12.1f}{:>8.2f}  {}  [{}]\n", 1e6 * sample.seconds, 1e6 * share * sample.seconds,
                        share, sample.signature, fmt::join(sample.extents, " "));
  }
  if (rows.empty()) return rows;
  return fmt::format("{:>12}{:>12}{:>8}  case, extents of its operands and attributes\n", "time, us", "floor, us",
                     "share") +
         rows;
}

}  // namespace centavo
