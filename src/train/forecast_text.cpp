#include "train/forecast_text.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "passes/place.h"
#include "train/plan_text.h"
#include "train/units.h"

namespace centavo {
namespace {

using nlohmann::ordered_json;

constexpr double kSmallShare = 0.01;

std::string milliseconds(double seconds) { return significant(seconds * 1e3, 3) + " ms"; }
std::string percent(double share) { return fmt::format("{:.1f} %", share * 100); }

double share_of(double part, double whole) { return whole > 0 ? part / whole : 0; }

std::string counted(int64_t count, const char* what) {
  return fmt::format("{} {}{}", count, what, count == 1 ? "" : "s");
}

// What is less than sure of measured costs, after the sentence that names them.
std::string doubts(const Forecast& f, const CostSource& costs) {
  std::string text;
  if (!costs.instead_of.empty()) {
    text += fmt::format("; this is {}, measure it with `centavo bench --device {}`", costs.instead_of,
                        name_of(costs.device));
  }
  if (costs.device == DeviceKind::cpu && costs.threads != f.threads) {
    text += fmt::format("; this run computes with {}, measure again with `centavo bench --threads {}`",
                        counted(f.threads, "thread"), f.threads);
  }
  if (const std::vector<std::string> unknown = costs.unknown(); !unknown.empty()) {
    text += fmt::format("; not measured, guessed from the ceilings: {}", fmt::join(unknown, ", "));
  }
  return text;
}

std::string source_line(const Forecast& f, const CostSource& costs) {
  const bool gpu = costs.device == DeviceKind::cuda;
  if (costs.kind == CostSource::Kind::measured) {
    const std::string threads = gpu ? "" : ", " + counted(costs.threads, "thread");
    return fmt::format("costs      from the profile of {}{}{}", costs.machine, threads, doubts(f, costs));
  }
  return fmt::format(
      "costs      PRIOR, not measured: from {} {}, right within a factor of {:.0f} (a step takes {} to {}); `centavo "
      "bench` measures it",
      gpu ? "what is known of" : "cores, clock and instructions of", costs.machine, kPriorFactor,
      milliseconds(f.step_seconds / kPriorFactor), milliseconds(f.step_seconds * kPriorFactor));
}

// Small kinds together, under the name of how many there are.
std::vector<KindForecast> rows_of(const Forecast& f) {
  std::vector<KindForecast> rows;
  KindForecast others;
  int64_t small = 0;
  for (const KindForecast& kind : f.kinds) {
    if (kind.seconds >= kSmallShare * f.step_seconds) {
      rows.push_back(kind);
      continue;
    }
    ++small;
    others.calls += kind.calls;
    others.seconds += kind.seconds;
    others.floor_seconds += kind.floor_seconds;
  }
  others.kind = counted(small, "other kind");
  if (small > 0) rows.push_back(others);
  return rows;
}

void add_kinds(const Forecast& f, std::vector<std::string>& lines) {
  lines.push_back(fmt::format("           {:<20}{:>7}{:>12}{:>9}{:>10}", "op", "calls", "time", "share", "of floor"));
  for (const KindForecast& kind : rows_of(f)) {
    lines.push_back(fmt::format("           {:<20}{:>7}{:>12}{:>9}{:>10}", kind.kind, kind.calls,
                                milliseconds(kind.seconds), percent(share_of(kind.seconds, f.step_seconds)),
                                percent(share_of(kind.floor_seconds, kind.seconds))));
  }
}

void add_lanes(const Forecast& f, std::vector<std::string>& lines) {
  for (size_t lane = 0; lane < kLanes; ++lane) {
    if (f.busy[lane] == 0) continue;
    lines.push_back(fmt::format("           lane {:<15}{:>7}{:>12}{:>9}", name_of(static_cast<Lane>(lane)), "busy",
                                milliseconds(f.busy[lane]), percent(share_of(f.busy[lane], f.step_seconds))));
  }
}

std::string run_line(const Forecast& f) {
  std::string line = fmt::format("run        {} in {}", counted(f.steps.times, "step"), duration_text(f.steps.seconds));
  if (f.validations.times > 0) {
    line += fmt::format(", {} in {}", counted(f.validations.times, "validation"), duration_text(f.validations.seconds));
  }
  if (f.checkpoints.seconds > 0) {
    line += fmt::format(", {} in {}", counted(f.checkpoints.times, "checkpoint"), duration_text(f.checkpoints.seconds));
  }
  line += fmt::format(": {}", duration_text(f.run_seconds()));
  return line + (f.dollars() ? ", " + money_text(*f.dollars()) : ", no price_per_hour given");
}

ordered_json memory_json(const Program& training) {
  const auto bytes = [&](Home home) {
    const auto it = training.arena_bytes.find(home);
    return it == training.arena_bytes.end() ? int64_t{0} : it->second;
  };
  ordered_json list = ordered_json::array();
  for (const RegionBytes& region : regions(training)) {
    list.push_back({{"kind", name_of(region.kind)}, {"bytes", region.bytes}, {"shares_addresses", region.shares}});
  }
  return {{"device_bytes", bytes(Home::device)}, {"host_bytes", bytes(Home::host)}, {"regions", list}};
}

ordered_json costs_json(const CostSource& costs) {
  const bool prior = costs.kind == CostSource::Kind::prior;
  ordered_json json = {
      {"source", prior ? "prior" : "profile"}, {"device", name_of(costs.device)}, {"machine", costs.machine}};
  json["instead_of"] = costs.instead_of.empty() ? ordered_json(nullptr) : ordered_json(costs.instead_of);
  json["threads"] = costs.threads;
  json["factor"] = prior ? ordered_json(kPriorFactor) : ordered_json(nullptr);
  json["unmeasured"] = costs.unknown();
  return json;
}

ordered_json predicted_json(const Forecast& f) {
  ordered_json kinds = ordered_json::array();
  for (const KindForecast& kind : f.kinds) {
    kinds.push_back({{"kind", kind.kind},
                     {"calls", kind.calls},
                     {"seconds", kind.seconds},
                     {"share", share_of(kind.seconds, f.step_seconds)},
                     {"floor_seconds", kind.floor_seconds}});
  }
  ordered_json lanes = ordered_json::array();
  for (size_t lane = 0; lane < kLanes; ++lane) {
    lanes.push_back({{"lane", name_of(static_cast<Lane>(lane))},
                     {"busy_seconds", f.busy[lane]},
                     {"idle_seconds", f.step_seconds - f.busy[lane]}});
  }
  return {{"step_seconds", f.step_seconds},
          {"floor_seconds", f.floor_seconds},
          {"tokens_per_second", f.tokens_per_second()},
          {"kinds", kinds},
          {"lanes", lanes}};
}

ordered_json run_json(const Forecast& f) {
  return {{"steps", f.steps.times},
          {"tokens", f.steps.times * f.step_tokens},
          {"seconds", f.run_seconds()},
          {"training_seconds", f.steps.seconds},
          {"validations", f.validations.times},
          {"validation_seconds", f.validations.seconds},
          {"checkpoints", f.checkpoints.times},
          {"checkpoint_seconds", f.checkpoints.seconds},
          {"dollars", f.dollars() ? ordered_json(*f.dollars()) : ordered_json(nullptr)},
          {"not_counted", f.not_counted}};
}

std::string comparison_row(const std::string& what, double predicted, double measured) {
  const std::string error = measured > 0 ? fmt::format("{:+.1f} %", (predicted / measured - 1) * 100) : "";
  return fmt::format("           {:<20}{:>12}{:>12}{:>10}", what, milliseconds(predicted), milliseconds(measured),
                     error);
}

}  // namespace

std::vector<std::string> forecast_lines(const Forecast& f, const CostSource& costs) {
  std::vector<std::string> lines = {source_line(f, costs)};
  lines.push_back(fmt::format("predicted  {} a step, {} tokens/s; the floor is {}, {} of it",
                              milliseconds(f.step_seconds), grouped(static_cast<int64_t>(f.tokens_per_second())),
                              milliseconds(f.floor_seconds), percent(share_of(f.floor_seconds, f.step_seconds))));
  add_kinds(f, lines);
  add_lanes(f, lines);
  lines.push_back(run_line(f));
  lines.push_back(fmt::format("           not counted: {}", fmt::join(f.not_counted, ", ")));
  return lines;
}

ordered_json forecast_json(const OpTable& ops, const RunConfig& c, const Worker& worker, const Program& training,
                           const Forecast& f, const CostSource& costs) {
  return {{"format", 1},
          {"model", {{"parameters", parameter_count(training)}, {"precision", c.precision}}},
          {"step",
           {{"tokens", f.step_tokens},
            {"micro_batches", c.grad_accum_steps},
            {"flops", run_step_flops(ops, c)},
            {"ranks", worker.mesh.ranks()},
            {"threads", worker.threads}}},
          {"memory", memory_json(training)},
          {"costs", costs_json(costs)},
          {"predicted", predicted_json(f)},
          {"run", run_json(f)}};
}

std::vector<std::string> comparison_lines(const Forecast& f, const std::vector<Span>& measured, double step_seconds) {
  std::map<std::string, double> seconds;
  for (const KindTime& kind : by_kind(measured)) seconds[kind.kind] = kind.seconds;
  std::vector<std::string> lines = {
      fmt::format("measured   {:<20}{:>12}{:>12}{:>10}", "op", "predicted", "measured", "error")};
  double other_predicted = 0;
  double other_measured = 0;
  for (const KindForecast& kind : f.kinds) {
    const double of_kind = seconds[kind.kind];
    if (std::max(kind.seconds, of_kind) >= kSmallShare * f.step_seconds) {
      lines.push_back(comparison_row(kind.kind, kind.seconds, of_kind));
    } else {
      other_predicted += kind.seconds;
      other_measured += of_kind;
    }
  }
  lines.push_back(comparison_row("other ops", other_predicted, other_measured));
  lines.push_back(comparison_row("all ops", f.step_seconds, end_of(measured)));
  lines.push_back(comparison_row("a step", f.step_seconds, step_seconds));
  return lines;
}

}  // namespace centavo
