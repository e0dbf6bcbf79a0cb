#include "machine/virtual/profile.h"

#include <algorithm>
#include <cmath>
#include <sstream>

#include "base/errors.h"
#include "base/files.h"
#include "base/json.h"

namespace centavo {
namespace {

using nlohmann::ordered_json;

constexpr int kFormat = 2;

// Of a product whose operands are of the type that the signature names first; the best there is when none is known.
double product_rate(const Profile& profile, const std::string& signature) {
  std::istringstream words(signature);
  for (std::string word; words >> word;) {
    const auto known = profile.product_flops.find(word);
    if (known != profile.product_flops.end()) return known->second;
  }
  double best = 0;
  for (const auto& [dtype, rate] : profile.product_flops) best = std::max(best, rate);
  return best;
}

double at_rate(double work, double rate) { return work > 0 && rate > 0 ? work / rate : 0; }

// Of a copy over the link between host and device: each byte is read on one side and written on the other.
double link_seconds(const Profile& profile, const OpCase& op) {
  const size_t host = op.signature.find(kOnHost);
  if (host == std::string::npos) return 0;
  const bool leaves = host > op.signature.find('>');
  return at_rate(op.cost.bytes / 2, leaves ? profile.to_host_bytes_per_second : profile.to_device_bytes_per_second);
}

ordered_json to_json(const OpSample& sample) {
  return {{"op", sample.signature},
          {"extents", sample.extents},
          {"flops", sample.flops},
          {"bytes", sample.bytes},
          {"seconds", sample.seconds}};
}

ordered_json to_json(const std::vector<ProfileStamp>& runs) {
  ordered_json list = ordered_json::array();
  for (const ProfileStamp& run : runs) list.push_back({{"commit", run.commit}, {"date", run.date}});
  return list;
}

ordered_json head_of(const Profile& p) {
  return {{"format", kFormat},
          {"device", name_of(p.device)},
          {"machine", p.machine},
          {"features", p.features},
          {"architecture", p.architecture},
          {"multiprocessors", p.multiprocessors},
          {"threads", p.threads},
          {"commit", p.commit},
          {"date", p.date},
          {"runs", to_json(p.runs)},
          {"copy_bytes_per_second", p.copy_bytes_per_second},
          {"to_device_bytes_per_second", p.to_device_bytes_per_second},
          {"to_host_bytes_per_second", p.to_host_bytes_per_second},
          {"product_flops_per_second", p.product_flops},
          {"disk_read_bytes_per_second", p.disk_read_bytes_per_second},
          {"disk_write_bytes_per_second", p.disk_write_bytes_per_second},
          {"disturbed_share", p.disturbed_share}};
}

// A line a field and a line a sample.
std::string text_of(const Profile& profile) {
  std::string text = "{\n";
  const ordered_json head = head_of(profile);
  for (const auto& [key, value] : head.items()) text += fmt::format("\"{}\": {},\n", key, json_text(value));
  text += "\"samples\": [";
  for (size_t i = 0; i < profile.samples.size(); ++i) {
    text += (i == 0 ? "\n" : ",\n") + json_text(to_json(profile.samples[i]));
  }
  return text + "\n]\n}\n";
}

// Fields of one object; `what` names it in messages.
class Fields {
 public:
  Fields(const ordered_json& json, std::string what) : json_(json), what_(std::move(what)) {
    if (!json_.is_object()) refuse("is no object");
  }

  const ordered_json& at(const char* key) const {
    if (!json_.contains(key)) refuse(fmt::format("has no {}", key));
    return json_[key];
  }

  std::string text(const char* key) const {
    if (!at(key).is_string()) refuse(fmt::format("has a {} that is no text", key));
    return at(key).get<std::string>();
  }

  double number(const char* key) const {
    const double value = at(key).is_number() ? at(key).get<double>() : -1;
    if (!(value >= 0) || !std::isfinite(value)) refuse(fmt::format("has a {} that is no number from 0 on", key));
    return value;
  }

  int count(const char* key) const { return static_cast<int>(std::min(number(key), 1e6)); }

  DeviceKind device(const char* key) const {
    for (const DeviceKind kind : {DeviceKind::cpu, DeviceKind::cuda}) {
      if (text(key) == name_of(kind)) return kind;
    }
    refuse(fmt::format("has a {} that is neither cpu nor cuda", key));
  }

  double positive(const char* key) const {
    const double value = number(key);
    if (value == 0) refuse(fmt::format("has a {} of 0", key));
    return value;
  }

  [[noreturn]] void refuse(const std::string& why) const {
    user_error("{} {}; measure this machine again with centavo bench", what_, why);
  }

 private:
  const ordered_json& json_;
  std::string what_;
};

OpSample sample_from(const ordered_json& json, const std::string& what) {
  const Fields fields(json, what);
  OpSample sample{.signature = fields.text("op"),
                  .extents = {},
                  .flops = fields.number("flops"),
                  .bytes = fields.number("bytes"),
                  .seconds = fields.positive("seconds")};
  const ordered_json& extents = fields.at("extents");
  if (!extents.is_array()) fields.refuse("has extents that are no list");
  for (const ordered_json& extent : extents) {
    if (!extent.is_number_integer() || extent.get<int64_t>() < 0) fields.refuse("has an extent that is no size");
    sample.extents.push_back(extent.get<int64_t>());
  }
  return sample;
}

// None in the files of older programs.
std::vector<ProfileStamp> runs_from(const ordered_json& json, const std::string& path) {
  std::vector<ProfileStamp> runs;
  if (!json.contains("runs")) return runs;
  for (const ordered_json& run : json["runs"]) {
    const Fields fields(run, fmt::format("run {} of {}", runs.size(), path));
    runs.push_back({fields.text("commit"), fields.text("date")});
  }
  return runs;
}

std::map<std::string, double> rates_from(const ordered_json& json, const std::string& what) {
  const Fields fields(json, what);
  std::map<std::string, double> rates;
  for (const auto& [dtype, rate] : json.items()) rates[dtype] = fields.positive(dtype.c_str());
  return rates;
}

ordered_json parse(const std::string& path) {
  const std::string text = read_file(path);
  try {
    return parse_ordered_json(text);
  } catch (const nlohmann::json::exception&) {
    user_error("{} is not JSON and so no profile; measure this machine again with centavo bench", path);
  }
}

}  // namespace

double Profile::floor_seconds(const OpCase& op) const {
  return std::max({at_rate(op.cost.flops, product_rate(*this, op.signature)),
                   at_rate(op.cost.bytes, copy_bytes_per_second), link_seconds(*this, op)});
}

void Profile::take(const std::vector<OpSample>& newer) {
  std::map<std::pair<std::string, std::vector<int64_t>>, OpSample> all;
  for (const std::vector<OpSample>& list : {samples, newer}) {
    for (const OpSample& sample : list) all[{sample.signature, sample.extents}] = sample;
  }
  samples.clear();
  for (auto& [key, sample] : all) samples.push_back(std::move(sample));
}

Profile read_profile(const std::filesystem::path& file) {
  const std::string path = file.string();
  const ordered_json json = parse(path);
  const Fields fields(json, path);
  if (fields.number("format") != kFormat) fields.refuse("is a profile of another version");
  Profile profile{.device = fields.device("device"),
                  .machine = fields.text("machine"),
                  .features = fields.text("features"),
                  .architecture = fields.count("architecture"),
                  .multiprocessors = fields.count("multiprocessors"),
                  .threads = static_cast<int>(std::min(fields.positive("threads"), 1e6)),
                  .commit = fields.text("commit"),
                  .date = fields.text("date"),
                  .copy_bytes_per_second = fields.positive("copy_bytes_per_second"),
                  .to_device_bytes_per_second = fields.number("to_device_bytes_per_second"),
                  .to_host_bytes_per_second = fields.number("to_host_bytes_per_second"),
                  .product_flops = rates_from(fields.at("product_flops_per_second"), path),
                  .disk_read_bytes_per_second = fields.number("disk_read_bytes_per_second"),
                  .disk_write_bytes_per_second = fields.number("disk_write_bytes_per_second"),
                  .runs = runs_from(json, path),
                  .disturbed_share = fields.number("disturbed_share"),
                  .samples = {}};
  const ordered_json& samples = fields.at("samples");
  if (!samples.is_array()) fields.refuse("has samples that are no list");
  for (size_t i = 0; i < samples.size(); ++i) {
    profile.samples.push_back(sample_from(samples[i], fmt::format("sample {} of {}", i, path)));
  }
  return profile;
}

void write_profile(const Profile& profile, const std::filesystem::path& file) {
  write_file_atomic(file.string(), text_of(profile));
}

}  // namespace centavo
