#include "train/metrics_log.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <limits>
#include <string_view>

#include "base/errors.h"
#include "base/json.h"

namespace centavo {
namespace {

using nlohmann::ordered_json;

constexpr double kInfinity = std::numeric_limits<double>::infinity();
constexpr double kSecondsPerHour = 3600;

int64_t unix_seconds() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::seconds>(now).count();
}

ordered_json finite(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "Infinity" : "-Infinity";
  return value;
}

// The double with the same shortest digits as the float, so that 0.1f is written 0.1.
double with_digits_of_float(double value) {
  const auto narrow = static_cast<float>(value);
  if (static_cast<double>(narrow) != value) return value;
  return std::strtod(fmt::format("{}", narrow).c_str(), nullptr);
}

ordered_json measured(double value) { return finite(std::isfinite(value) ? with_digits_of_float(value) : value); }

// Clocks and rates carry noise in their last digits.
ordered_json rounded(double value, int digits) {
  return finite(std::isfinite(value) ? std::strtod(fmt::format("{:.{}g}", value, digits).c_str(), nullptr) : value);
}
ordered_json seconds_json(double value) { return finite(std::isfinite(value) ? std::round(value * 1e6) / 1e6 : value); }

std::string line_of(const ordered_json& json) { return json_text(json) + "\n"; }

double number(const ordered_json& json) {
  if (!json.is_string()) return json.get<double>();
  const std::string& text = json.get_ref<const std::string&>();
  if (text == "NaN") return std::numeric_limits<double>::quiet_NaN();
  if (text == "Infinity") return kInfinity;
  if (text == "-Infinity") return -kInfinity;
  user_error("\"{}\" is no number", text);
}

double number_or(const ordered_json& json, const char* key, double otherwise) {
  const auto found = json.find(key);
  return found == json.end() ? otherwise : number(*found);
}

std::optional<double> optional_number(const ordered_json& json, const char* key) {
  const auto found = json.find(key);
  return found == json.end() ? std::nullopt : std::optional(number(*found));
}

StepRecord step_from(const ordered_json& json) {
  return {.step = json.at("step").get<int64_t>(),
          .tokens = json.at("tokens").get<int64_t>(),
          .loss = number(json.at("loss")),
          .lr = number(json.at("lr")),
          .grad_norm = number(json.at("grad_norm")),
          .tok_s = number(json.at("tok_s")),
          .mfu = optional_number(json, "mfu"),
          .mem = json.at("mem").get<int64_t>(),
          .time = number(json.at("time")),
          .cost = optional_number(json, "cost")};
}

ValidationRecord validation_from(const ordered_json& json) {
  return {.step = json.at("step").get<int64_t>(),
          .loss = number(json.at("validation_loss")),
          .bits_per_byte = number(json.at("bits_per_byte")),
          .bytes = json.at("validation_bytes").get<int64_t>(),
          .tokens = json.at("validation_tokens").get<int64_t>(),
          .time = number_or(json, "time", 0),
          .windows = json.value("validation_windows", int64_t{0})};
}

SampleRecord sample_from(const ordered_json& json) {
  return {.step = json.at("step").get<int64_t>(),
          .text = json.at("sample").get<std::string>(),
          .prompt = json.at("prompt").get<std::string>()};
}

GpuUse gpu_use_from(const ordered_json& json) {
  GpuUse use{.seconds = number(json.at("gpu_seconds")),
             .joules = optional_number(json, "gpu_joules"),
             .sm_mhz = optional_number(json, "sm_mhz"),
             .memory_mhz = optional_number(json, "memory_mhz"),
             .celsius = optional_number(json, "celsius"),
             .slowed_seconds = optional_number(json, "slowed_seconds")};
  const ordered_json slowed = json.value("slowed", ordered_json::object());
  for (const auto& [reason, seconds] : slowed.items()) {
    use.slowed[reason] = number(seconds);
  }
  return use;
}

GpuRecord gpu_from(const ordered_json& json) {
  return {.step = json.at("step").get<int64_t>(), .time = number_or(json, "time", 0), .use = gpu_use_from(json)};
}

void put_gpu_use(ordered_json& json, const GpuUse& use) {
  json["gpu_seconds"] = seconds_json(use.seconds);
  const auto put = [&](const char* key, const std::optional<double>& value) {
    if (value) json[key] = rounded(*value, 6);
  };
  put("gpu_joules", use.joules);
  put("sm_mhz", use.sm_mhz);
  put("memory_mhz", use.memory_mhz);
  put("celsius", use.celsius);
  if (use.slowed_seconds) {
    json["slowed"] = ordered_json::object();
    for (const auto& [reason, seconds] : use.slowed) json["slowed"][reason] = seconds_json(seconds);
    json["slowed_seconds"] = seconds_json(*use.slowed_seconds);
  }
}

ordered_json gpu_json(const GpuRecord& record) {
  ordered_json json = {{"step", record.step}};
  put_gpu_use(json, record.use);
  json["time"] = seconds_json(record.time);
  return json;
}

Start start_from(const ordered_json& json, const RunFacts& header, const MetricsFile& before) {
  const auto run = json.find("run");
  const auto gpu = json.find("gpu_before");
  return {.step = json.at(json.contains("start") ? "start" : "resume").get<int64_t>(),
          .unix_seconds = json.at("unix").get<int64_t>(),
          .seconds_before = number_or(json, "seconds_before", 0),
          .cost_before = number_or(json, "cost_before", 0),
          .gpu_before = gpu == json.end() ? GpuUse() : gpu_use_from(*gpu),
          .facts = run == json.end() ? header : run_facts_from_json(*run),
          .validations_before = before.validations.size(),
          .gpu_lines_before = gpu == json.end() ? 0 : before.gpu.size()};
}

// Charts and lookups rely on it; a log in another order was edited.
template <class Record>
void append_in_order(std::vector<Record>& records, Record record) {
  if (!records.empty() && record.step < records.back().step) {
    user_error("step {} follows step {}", record.step, records.back().step);
  }
  records.push_back(std::move(record));
}

void read_line(MetricsFile& metrics, RunFacts& header, const ordered_json& json) {
  if (json.contains("loss")) return append_in_order(metrics.steps, step_from(json));
  if (json.contains("validation_loss")) return append_in_order(metrics.validations, validation_from(json));
  if (json.contains("sample")) return append_in_order(metrics.samples, sample_from(json));
  if (json.contains("gpu_seconds")) return append_in_order(metrics.gpu, gpu_from(json));
  if (json.contains("start") || json.contains("resume")) {
    metrics.starts.push_back(start_from(json, header, metrics));
  }
}

// Calls f(line number, line with its end) for every whole line.
template <class F>
void for_each_line(std::string_view text, F&& f) {
  size_t line = 1;
  for (size_t end = text.find('\n'); end != text.npos; end = text.find('\n'), ++line) {
    f(line, text.substr(0, end + 1));
    text.remove_prefix(end + 1);
  }
}

[[noreturn]] void damaged(const std::string& path, size_t line, const std::string& why) {
  user_error("{}:{} is damaged: {}; remove that line, or the file to begin a new log", path, line, why);
}

// f(json of the line, line) for every whole line; what it throws gets the line's place.
template <class F>
void for_each_object(const std::string& path, std::string_view text, F&& f) {
  for_each_line(text, [&](size_t number, std::string_view line) {
    try {
      f(parse_ordered_json(line), number, line);
    } catch (const ordered_json::exception& error) {
      damaged(path, number, error.what());
    } catch (const UserError& error) {
      damaged(path, number, error.what());
    }
  });
}

MetricsFile parse_metrics(const std::string& path, std::string_view text) {
  MetricsFile metrics;
  RunFacts header;
  bool has_header = false;
  for_each_object(path, text, [&](const ordered_json& json, size_t line, std::string_view) {
    if (line == 1) {
      header = run_facts_from_json(json);
      has_header = true;
    } else {
      read_line(metrics, header, json);
    }
  });
  if (!has_header) user_error("{}:1 holds no facts of a run; name the metrics.jsonl of a run", path);
  if (metrics.starts.empty()) metrics.starts.emplace_back().facts = header;
  return metrics;
}

// The step after which the line was written; nothing for what has no step.
std::optional<int64_t> step_of(const ordered_json& json) {
  for (const char* key : {"step", "start", "resume"}) {
    if (const auto found = json.find(key); found != json.end()) return found->get<int64_t>();
  }
  return std::nullopt;
}

std::string lines_up_to(const std::string& path, std::string_view text, int64_t step) {
  std::string kept;
  for_each_object(path, text, [&](const ordered_json& json, size_t, std::string_view line) {
    if (step_of(json).value_or(step) <= step) kept += line;
  });
  return kept;
}

double last_time(const MetricsFile& metrics) {
  const Start& start = metrics.starts.back();
  double time = 0;
  if (!metrics.steps.empty() && metrics.steps.back().step > start.step) time = metrics.steps.back().time;
  if (metrics.validations.size() == start.validations_before) return time;
  return std::max(time, metrics.validations.back().time);
}

void write_new_log(const std::string& path, const RunFacts& facts, int64_t step) {
  const ordered_json marker = {{step > 0 ? "resume" : "start", step}, {"unix", unix_seconds()}};
  write_file_atomic(path, line_of(to_json(facts)) + line_of(marker));
}

// The old log up to the step, and what all of it took.
void write_resumed_log(const std::string& path, const RunFacts& facts, int64_t step) {
  const std::string text = read_file(path);
  const MetricsFile old = parse_metrics(path, text);
  const GpuUse gpu = total_gpu_use(old);
  ordered_json marker = {{"resume", step},
                         {"unix", unix_seconds()},
                         {"seconds_before", seconds_json(wall_seconds(old))},
                         {"cost_before", rounded(total_cost(old).value_or(0), 6)}};
  if (gpu.seconds > 0) put_gpu_use(marker["gpu_before"], gpu);
  marker["run"] = to_json(facts);
  write_file_atomic(path, lines_up_to(path, text, step) + line_of(marker));
}

// What this start goes on with.
Start begin(const std::string& path, const RunFacts& facts, std::optional<int64_t> resume_step) {
  if (resume_step && std::filesystem::exists(path)) {
    write_resumed_log(path, facts, *resume_step);
  } else {
    write_new_log(path, facts, resume_step.value_or(0));
  }
  return read_metrics(path).starts.back();
}

}  // namespace

std::string metrics_path(const std::string& run_dir) { return run_dir + "/metrics.jsonl"; }

MetricsFile read_metrics(const std::string& path) { return parse_metrics(path, read_file(path)); }

// A checkpoint of step S holds what was done at S, so S itself belongs to the start before.
const Start& start_of(const MetricsFile& metrics, int64_t step) {
  for (size_t i = metrics.starts.size(); i-- > 1;) {
    if (metrics.starts[i].step < step) return metrics.starts[i];
  }
  return metrics.starts.front();
}

double wall_seconds(const MetricsFile& metrics) { return metrics.starts.back().seconds_before + last_time(metrics); }

std::optional<double> total_cost(const MetricsFile& metrics) {
  const Start& start = metrics.starts.back();
  if (!start.facts.price_per_hour) return std::nullopt;
  return start.cost_before + *start.facts.price_per_hour * last_time(metrics) / kSecondsPerHour;
}

GpuUse total_gpu_use(const MetricsFile& metrics) {
  const Start& start = metrics.starts.back();
  GpuUse use = start.gpu_before;
  for (size_t i = start.gpu_lines_before; i < metrics.gpu.size(); ++i) use.add(metrics.gpu[i].use);
  return use;
}

Measured measured_at(const std::string& run_dir, int64_t step) {
  if (!std::filesystem::exists(metrics_path(run_dir))) return {};
  const MetricsFile metrics = read_metrics(metrics_path(run_dir));
  Measured measured;
  for (const ValidationRecord& v : metrics.validations) {
    if (v.step == step) measured.validation_windows = std::max(measured.validation_windows, v.windows);
  }
  measured.max_steps = metrics.facts().max_steps;
  measured.sampled = std::ranges::count(metrics.samples, step, &SampleRecord::step) > 0;
  return measured;
}

MetricsLog::MetricsLog(const std::string& dir, const RunFacts& facts, std::optional<int64_t> resume_step)
    : MetricsLog(dir, facts, begin(metrics_path(dir), facts, resume_step)) {}

MetricsLog::MetricsLog(const std::string& dir, const RunFacts& facts, const Start& start)
    : cost_before_(start.cost_before),
      gpu_use_(start.gpu_before),
      price_per_hour_(facts.price_per_hour),
      file_(metrics_path(dir)) {}

void MetricsLog::step(const StepRecord& record) {
  ordered_json json = {{"step", record.step},
                       {"tokens", record.tokens},
                       {"loss", measured(record.loss)},
                       {"lr", measured(record.lr)},
                       {"grad_norm", measured(record.grad_norm)},
                       {"tok_s", rounded(record.tok_s, 6)}};
  if (record.mfu) json["mfu"] = rounded(*record.mfu, 4);
  json["mem"] = record.mem;
  json["time"] = seconds_json(record.time);
  if (price_per_hour_) json["cost"] = rounded(*cost_at(record.time), 6);
  file_.append(line_of(json));
}

void MetricsLog::validation(const ValidationRecord& record) {
  file_.append(line_of({{"step", record.step},
                        {"validation_loss", measured(record.loss)},
                        {"bits_per_byte", measured(record.bits_per_byte)},
                        {"validation_bytes", record.bytes},
                        {"validation_tokens", record.tokens},
                        {"validation_windows", record.windows},
                        {"time", seconds_json(record.time)}}));
}

void MetricsLog::sample(const SampleRecord& record) {
  file_.append(line_of({{"step", record.step}, {"sample", record.text}, {"prompt", record.prompt}}));
}

void MetricsLog::gpu(const GpuRecord& record) {
  const ordered_json json = gpu_json(record);
  gpu_use_.add(gpu_use_from(json));  // with the digits that a reader will see
  file_.append(line_of(json));
}

std::optional<double> MetricsLog::cost_at(double time) const {
  if (!price_per_hour_) return std::nullopt;
  return cost_before_ + *price_per_hour_ * time / kSecondsPerHour;
}

}  // namespace centavo
