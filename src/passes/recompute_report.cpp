#include "passes/recompute_report.h"

#include <algorithm>
#include <set>

namespace centavo {
namespace {

// layers.3.gate_up -> layers.*.gate_up
std::string kind_of(const std::string& name) {
  const std::string prefix = "layers.";
  return name.starts_with(prefix) ? prefix + "*" + name.substr(name.find('.', prefix.size())) : name;
}

std::string ops_text(const Program& program, const RecomputeStep& step) {
  std::vector<std::string> kinds;
  for (const auto& [op, form] : step.replays) {
    const std::string kind =
        program.find_section("micro")->ops[op].kind + (form == ReplayForm::shortened ? " (short)" : "");
    if (std::ranges::find(kinds, kind) == kinds.end()) kinds.push_back(kind);
  }
  return fmt::format("{}", fmt::join(kinds, ", "));
}

std::string why_kept(const Program& program, const RecomputePlan::Kept& kept) {
  if (kept.layer < 0) return "made outside the layers";
  if (!kept.instead) return "nothing else in its layer gives it back";
  return fmt::format("costs {}, {:.1f} us", ops_text(program, *kept.instead), kept.instead->us);
}

}  // namespace

std::vector<RecomputeRow> recompute_report(const Program& program, const OpTable& ops, const RecomputeChoice& choice) {
  const RecomputePlan plan = recompute_plan(program, ops, choice);
  std::vector<RecomputeRow> rows;
  const auto row = [&](BufferId id) -> RecomputeRow& {
    const std::string kind = kind_of(program.buffer(id).name);
    const auto found = std::ranges::find(rows, kind, &RecomputeRow::kind);
    return found != rows.end() ? *found : rows.emplace_back(RecomputeRow{.kind = kind, .why = ""});
  };
  std::set<BufferId> read_by_backward;
  for (const RecomputePlan::Kept& kept : plan.kept) read_by_backward.insert(kept.tensor);
  for (const RecomputeStep& step : plan.steps) read_by_backward.insert(step.dropped.begin(), step.dropped.end());
  for (const BufferId id : read_by_backward) row(id);
  for (const RecomputePlan::Kept& kept : plan.kept) {
    RecomputeRow& r = row(kept.tensor);
    r.kept += 1;
    r.bytes_kept += align_up(program.buffer(kept.tensor).bytes());
    r.why = why_kept(program, kept);
  }
  for (const RecomputeStep& step : plan.steps) {
    row(step.tensor).us += step.us;
    for (const BufferId id : step.dropped) {
      RecomputeRow& r = row(id);
      r.replayed += 1;
      r.bytes_saved += align_up(program.buffer(id).bytes());
      r.why = id == step.tensor ? "replayed by " + ops_text(program, step)
                                : "along with " + kind_of(program.buffer(step.tensor).name);
    }
  }
  return rows;
}

std::string recompute_table(const std::vector<RecomputeRow>& rows) {
  std::string table;
  for (const RecomputeRow& r : rows) {
    table += fmt::format("\n  {:<26} {:>3} kept {:>13} bytes, {:>3} replayed {:>13} bytes {:>9.1f} us  {}", r.kind,
                         r.kept, r.bytes_kept, r.replayed, r.bytes_saved, r.us, r.why);
  }
  return table;
}

}  // namespace centavo
