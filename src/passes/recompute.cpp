#include "passes/recompute.h"

#include <algorithm>

#include "base/nearest.h"
#include "passes/replays.h"

namespace centavo {
namespace {

using Form = Replays::Form;
using Step = Replays::Step;
using Work = Replays::Work;

std::vector<Step> take_steps(Replays& replays, const RecomputeChoice& choice) {
  using Mode = RecomputeChoice::Mode;
  switch (choice.mode) {
    case Mode::none: return {};
    case Mode::cheap: return take_all(replays, Work::light);
    case Mode::attention: return take_all(replays, Work::attention);
    case Mode::full: return take_all(replays, Work::product);
    case Mode::steps: return take_best(replays, choice.steps);
  }
  return {};
}

const Section& micro_of(const Program& program) {
  const Section* micro = program.find_section("micro");
  CHECK(micro != nullptr, "there is no micro-batch to recompute in");
  return *micro;
}

// Writes the section anew, each replay right before its first reader.
class Writer {
 public:
  Writer(const Program& program, const Section& micro, const Replays& replays)
      : micro_(micro), replays_(replays), next_id_(program.next_op_id()), done_(micro.ops.size(), false) {}

  std::vector<Op> run() {
    for (const Op& op : micro_.ops) {
      if (op.stage != Stage::forward) give_back_inputs(op);
      ops_.push_back(op);
    }
    return std::move(ops_);
  }

 private:
  void give_back_inputs(const Op& op) {
    for (const BufferId id : op.inputs) {
      if (id == kNone) continue;
      for (const size_t producer : replays_.producers(id)) replay(producer, id);
    }
  }

  void replay(size_t producer, BufferId id) {
    const Form form = replays_.form(producer);
    if (form == Form::none || done_[producer]) return;
    Op op = replays_.in_form(producer, form);
    if (std::ranges::find(op.outputs, id, &Output::buffer) == op.outputs.end()) return;  // kept
    done_[producer] = true;
    give_back_inputs(op);
    op.id = next_id_++;
    op.logical = micro_.ops[producer].logical;
    op.stage = Stage::backward;
    op.after.clear();
    ops_.push_back(std::move(op));
  }

  const Section& micro_;
  const Replays& replays_;
  int32_t next_id_;
  std::vector<bool> done_;
  std::vector<Op> ops_;
};

// layers.3.gate_up -> layers.*.gate_up
std::string kind_of(std::string name, int32_t layer) {
  const std::string number = fmt::format(".{}.", layer);
  const size_t at = name.find(number);
  return at == std::string::npos ? name : name.replace(at, number.size(), ".*.");
}

std::string ops_text(const Section& micro, const Step& step) {
  std::vector<std::string> kinds;
  for (const auto& [op, form] : step.replays) {
    const std::string kind = micro.ops[op].kind + (form == Form::shortened ? " (short)" : "");
    if (std::ranges::find(kinds, kind) == kinds.end()) kinds.push_back(kind);
  }
  return fmt::format("{}", fmt::join(kinds, ", "));
}

std::string why_kept(const Replays& replays, const Section& micro, BufferId id) {
  if (replays.layer_of(id) < 0) return "made outside the layers";
  const auto step = replays.step_for(id, Work::product);
  if (!step) return "nothing else in its layer gives it back";
  return fmt::format("costs {}, {:.1f} us", ops_text(micro, *step), step->us);
}

}  // namespace

RecomputeChoice recompute_choice(const std::string& name) {
  using Mode = RecomputeChoice::Mode;
  const std::vector<std::pair<std::string, Mode>> modes = {
      {"none", Mode::none}, {"cheap", Mode::cheap}, {"attention", Mode::attention}, {"full", Mode::full}};
  for (const auto& [known, mode] : modes) {
    if (name == known) return {mode, 0, {}};
  }
  user_error("recompute '{}' is unknown; use none, cheap, attention or full{}", name,
             did_you_mean(name, {"none", "cheap", "attention", "full"}));
}

Program recompute(Program program, const OpTable& ops, const RecomputeChoice& choice) {
  const Section& micro = micro_of(program);
  Replays replays(program, ops, micro, choice.rates);
  take_steps(replays, choice);
  std::vector<Op> rewritten = Writer(program, micro, replays).run();
  program.find_section("micro")->ops = std::move(rewritten);
  return program;
}

std::vector<RecomputeStep> recompute_ladder(const Program& program, const OpTable& ops, const MachineRates& rates) {
  const Section& micro = micro_of(program);
  Replays replays(program, ops, micro, rates);
  std::vector<RecomputeStep> ladder;
  for (const Step& step : take_best(replays, program.buffers.size())) {
    const std::string& name = program.buffer(step.tensor).name;
    ladder.push_back({name, kind_of(name, replays.layer_of(step.tensor)), step.bytes, step.us});
  }
  return ladder;
}

std::vector<RecomputeRow> recompute_report(const Program& program, const OpTable& ops, const RecomputeChoice& choice) {
  const Section& micro = micro_of(program);
  Replays replays(program, ops, micro, choice.rates);
  std::vector<RecomputeRow> rows;
  const auto row = [&](BufferId id) -> RecomputeRow& {
    const std::string kind = kind_of(program.buffer(id).name, replays.layer_of(id));
    const auto found = std::ranges::find(rows, kind, &RecomputeRow::kind);
    return found != rows.end() ? *found : rows.emplace_back(RecomputeRow{.kind = kind, .why = ""});
  };
  std::vector<BufferId> alive;
  for (size_t i = 0; i < program.buffers.size(); ++i) {
    if (replays.alive(static_cast<BufferId>(i))) alive.push_back(static_cast<BufferId>(i));
  }
  for (const BufferId id : alive) row(id);  // in the order of the program
  const std::vector<Step> steps = take_steps(replays, choice);
  for (const BufferId id : alive) {
    if (!replays.alive(id)) continue;
    row(id).kept += 1;
    row(id).bytes_kept += align_up(program.buffer(id).bytes());
    row(id).why = why_kept(replays, micro, id);
  }
  for (const Step& step : steps) {
    row(step.tensor).us += step.us;
    for (const BufferId id : step.dropped) {
      row(id).replayed += 1;
      row(id).bytes_saved += align_up(program.buffer(id).bytes());
      row(id).why = id == step.tensor
                        ? "replayed by " + ops_text(micro, step)
                        : "along with " + kind_of(program.buffer(step.tensor).name, replays.layer_of(step.tensor));
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
