#include "passes/recompute.h"

#include <algorithm>
#include <array>

#include "base/nearest.h"
#include "passes/fuse_replays.h"
#include "program/access.h"
#include "program/lifetime.h"

namespace centavo {
namespace {

using Form = ReplayForm;
using Step = RecomputeStep;

// What an op is made of, in the order of its price; `never` is what no replay may be.
enum class Work : uint8_t { light, attention, product, never };

Work work_of(const OpDef& def) {
  if (def.collective) return Work::never;
  if (def.kind == "attention") return Work::attention;
  const bool product = std::ranges::find(def.inputs, Type::product, &Slot::type) != def.inputs.end();
  return product ? Work::product : Work::light;
}

const Section& micro_of(const Program& program) {
  const Section* micro = program.find_section("micro");
  CHECK(micro != nullptr, "there is no micro-batch to recompute in");
  return *micro;
}

bool writes(const Op& op, BufferId id) {
  return std::ranges::find(op.outputs, id, &Output::buffer) != op.outputs.end();
}

// The state is a form for each forward op: not replayed, replayed in its short form, or replayed whole. From it follows
// which tensors live across the border between forward and backward.
class Replays {
 public:
  Replays(const Program& program, const OpTable& ops, const MachineRates& rates)
      : p_(program),
        micro_(micro_of(program)),
        tensors_(program.buffers.size()),
        forms_(micro_.ops.size(), Form::none),
        next_id_(program.next_op_id()) {
    for (size_t i = 0; i < micro_.ops.size(); ++i) note_accesses(i);
    for (const Op& op : micro_.ops) calls_.push_back(op.stage == Stage::forward ? calls_of(ops, op, rates) : Calls{});
  }

  // Does it live across the border?
  bool alive(BufferId id) const { return tensor(id).alive; }
  // Of its producers; -1 without.
  int32_t layer_of(BufferId id) const {
    const Tensor& t = tensor(id);
    return t.producers.empty() ? -1 : micro_.ops[t.producers[0]].layer;
  }

  // Tensors kept that replays might give back, in the order of the program.
  std::vector<BufferId> droppable() const {
    std::vector<BufferId> found;
    for (size_t i = 0; i < tensors_.size(); ++i) {
      const Tensor& t = tensors_[i];
      if (t.alive && t.steady && !t.pinned) found.push_back(static_cast<BufferId>(i));
    }
    std::ranges::stable_sort(found, {}, [&](BufferId id) { return tensor(id).producers[0]; });
    return found;
  }

  // What dropping `id` takes with ops no heavier than `heaviest`; nothing when its layer cannot give it back.
  std::optional<Step> step_for(BufferId id, Work heaviest) const {
    Step step{.tensor = id, .layer = layer_of(id)};
    if (tensor(id).pinned || !give_back(id, heaviest, step)) return std::nullopt;
    for (const auto& [op, form] : step.replays) {
      step.us += call(op, form).us - call(op, forms_[op]).us;
      for (const auto& [out, bind] : call(op, form).op.outputs) {
        if (out == kNone || !alive(out) || std::ranges::count(step.dropped, out) > 0) continue;
        if (tensor(out).pinned) return std::nullopt;
        step.dropped.push_back(out);
        step.bytes += align_up(p_.buffer(out).bytes());
      }
    }
    return step;
  }

  void take(const Step& step) {
    for (const auto& [op, form] : step.replays) {
      forms_[op] = form;
      for (const BufferId id : call(op, form).op.inputs) {
        if (id != kNone && layer_of(id) != step.layer) tensor(id).pinned = true;
      }
    }
    for (const BufferId id : step.dropped) tensor(id).alive = false;
  }

  // The micro-batch with each replay right before its first reader. Called once, last.
  std::vector<Op> write() {
    std::vector<Op> ops;
    for (const Op& op : micro_.ops) {
      if (op.stage != Stage::forward) write_replays_for(op, ops);
      ops.push_back(op);
    }
    return ops;
  }

 private:
  struct Tensor {                   // a root buffer
    std::vector<size_t> producers;  // forward ops that write or add to it, in order
    bool steady = true;             // one value: forward producers come first, then only readers
    bool read = false;
    bool pinned = false;  // the backward, or a replay, of another layer reads it
    bool alive = false;
  };
  struct Call {  // Form::none, or a short form that does not exist: writes nothing, costs nothing
    Op op;
    Work work = Work::never;
    double us = 0;
  };
  using Calls = std::array<Call, 3>;  // by form

  Tensor& tensor(BufferId id) { return tensors_[static_cast<size_t>(id)]; }
  const Tensor& tensor(BufferId id) const { return tensors_[static_cast<size_t>(id)]; }
  const Call& call(size_t op, Form form) const { return calls_[op][static_cast<size_t>(form)]; }

  void note_accesses(size_t i) {
    const Op& op = micro_.ops[i];
    const bool forward = op.stage == Stage::forward;
    for (const Access& access : accesses(p_, op)) {
      Tensor& t = tensor(access.root);
      const bool changes = access.mode != Access::read;
      const bool reads = access.mode != Access::write;
      const bool kept = always_alive(p_.buffer(access.root));
      const bool whole = access.buffer == access.root;  // values behind views are not followed
      t.steady = t.steady && (kept ? !changes : whole && (!changes || (forward && !t.read)));
      t.read = t.read || !changes;
      if (forward && changes) t.producers.push_back(i);
      if (forward || !reads || t.producers.empty()) continue;
      t.alive = !kept;
      t.pinned = t.pinned || op.layer != layer_of(access.root);
    }
  }

  // Where a gradient of its layer gives the result along the way, what that does for it.
  Cost cost_of_replay(const OpTable& ops, const Op& form) const {
    const auto cost_of = [&](const Op& op) { return ops.at(op.kind).cost(OpView(p_, op)); };
    const auto found = find_by_product(micro_.ops, form);
    if (!found) return cost_of(form);
    const Cost with = cost_of(found->fused);
    const Cost without = cost_of(micro_.ops[found->at]);
    return {.flops = with.flops - without.flops, .bytes = with.bytes - without.bytes};
  }

  Calls calls_of(const OpTable& ops, const Op& op, const MachineRates& rates) const {
    const OpDef& def = ops.at(op.kind);
    const bool repeats = repeatable(op);
    const auto priced = [&](const Op& form) {
      const OpDef& as = ops.at(form.kind);
      const double flops_per_s = work_of(as) == Work::attention ? rates.attention_flops_per_s : rates.flops_per_s;
      const Cost cost = cost_of_replay(ops, form);
      return Call{form, repeats ? work_of(as) : Work::never,
                  1e6 * std::max(cost.flops / flops_per_s, cost.bytes / rates.bytes_per_s)};
    };
    const auto shorter = def.short_replay == nullptr ? std::nullopt : def.short_replay(op);
    return {Call{}, shorter ? priced(*shorter) : Call{}, priced(op)};
  }

  // Does it read and write the same values whenever it runs, and nothing that must not be written twice?
  bool repeatable(const Op& op) const {
    if (op.layer < 0 || op.lane != Lane::compute) return false;
    return std::ranges::all_of(accesses(p_, op), [&](const Access& access) {
      const Buffer& root = p_.buffer(access.root);
      const bool temporary = root.kind == BufferKind::activation && root.home == Home::device && !always_alive(root);
      const bool in_place = access.mode != Access::read && std::ranges::count(op.inputs, access.buffer) > 0;
      return tensor(access.root).steady && !in_place && (access.mode == Access::read || temporary);
    });
  }

  Form form_in(const Step& step, size_t op) const {
    const auto it = step.replays.find(op);
    return it == step.replays.end() ? forms_[op] : it->second;
  }

  // Can the step's replays read it, as far as the step is known?
  bool at_hand(BufferId id, const Step& step) const {
    if (id == kNone) return true;
    const BufferId root = p_.root(id);
    if (always_alive(p_.buffer(root)) || (alive(root) && root != step.tensor)) return true;
    const auto replayed = [&](size_t op) { return writes(call(op, form_in(step, op)).op, id); };
    return layer_of(root) == step.layer && std::ranges::all_of(tensor(root).producers, replayed);
  }

  bool give_back(BufferId id, Work heaviest, Step& step) const {
    const Tensor& t = tensor(id);
    return t.steady && !t.producers.empty() &&
           std::ranges::all_of(t.producers, [&](size_t op) { return replay(op, id, heaviest, step); });
  }

  // Adds the replay of `op` that gives back `id`, and of what it reads.
  bool replay(size_t op, BufferId id, Work heaviest, Step& step) const {
    if (micro_.ops[op].layer != step.layer) return false;
    const auto here = [&](BufferId in) { return at_hand(in, step); };
    const Op& shorter = call(op, Form::shortened).op;
    const bool enough = writes(shorter, id) && std::ranges::all_of(shorter.inputs, here);
    const Form form = enough ? Form::shortened : Form::whole;
    if (call(op, form).work > heaviest) return false;
    if (form_in(step, op) >= form) return true;
    step.replays[op] = form;
    // What else it writes must become whole again too: others may add to it.
    const Op& replayed = call(op, form).op;
    return std::ranges::all_of(replayed.outputs,
                               [&](const Output& output) {
                                 const BufferId out = output.buffer;
                                 return out == kNone || out == id || give_back(out, heaviest, step);
                               }) &&
           std::ranges::all_of(replayed.inputs, [&](BufferId in) { return here(in) || give_back(in, heaviest, step); });
  }

  void write_replays_for(const Op& reader, std::vector<Op>& ops) {
    for (const BufferId id : reader.inputs) {
      if (id == kNone) continue;
      for (const size_t producer : tensor(id).producers) {
        Op op = call(producer, forms_[producer]).op;
        if (!writes(op, id)) continue;  // kept, or given back already
        forms_[producer] = Form::none;
        write_replays_for(op, ops);
        op.id = next_id_++;
        op.logical = micro_.ops[producer].logical;
        op.stage = Stage::backward;
        op.after.clear();
        ops.push_back(std::move(op));
      }
    }
  }

  const Program& p_;
  const Section& micro_;
  std::vector<Tensor> tensors_;  // by buffer
  std::vector<Calls> calls_;     // by index in the section
  std::vector<Form> forms_;      // likewise
  int32_t next_id_;
};

// Takes every tensor that ops no heavier than `heaviest` give back.
std::vector<Step> take_all(Replays& replays, Work heaviest) {
  std::vector<Step> steps;
  for (const BufferId id : replays.droppable()) {
    if (!replays.alive(id)) continue;  // dropped along with another
    if (const auto step = replays.step_for(id, heaviest)) {
      replays.take(*step);
      steps.push_back(*step);
    }
  }
  return steps;
}

// Takes the step that saves most bytes per microsecond, at most `most` times; of equals the first.
std::vector<Step> take_best(Replays& replays, size_t most) {
  const auto gain = [](const Step& step) { return static_cast<double>(step.bytes) / step.us; };
  std::vector<Step> steps;
  while (steps.size() < most) {
    std::optional<Step> best;
    for (const BufferId id : replays.droppable()) {
      auto step = replays.step_for(id, Work::product);
      if (step && (!best || gain(*step) > gain(*best))) best = std::move(step);
    }
    if (!best) break;
    replays.take(*best);
    steps.push_back(*std::move(best));
  }
  return steps;
}

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

}  // namespace

RecomputeChoice recompute_choice(const std::string& name) {
  const std::vector<std::string> modes = {"none", "cheap", "attention", "full"};  // in the order of Mode
  const auto mode = std::ranges::find(modes, name);
  if (mode == modes.end()) {
    user_error("recompute '{}' is unknown; use none, cheap, attention or full{}", name, did_you_mean(name, modes));
  }
  return {static_cast<RecomputeChoice::Mode>(mode - modes.begin()), 0, {}};
}

Program recompute(Program program, const OpTable& ops, const RecomputeChoice& choice) {
  Replays replays(program, ops, choice.rates);
  take_steps(replays, choice);
  std::vector<Op> rewritten = replays.write();
  program.find_section("micro")->ops = std::move(rewritten);
  return program;
}

std::vector<RecomputeStep> recompute_ladder(const Program& program, const OpTable& ops, const MachineRates& rates) {
  const size_t all = program.buffers.size();
  return recompute_plan(program, ops, {.mode = RecomputeChoice::Mode::steps, .steps = all, .rates = rates}).steps;
}

RecomputePlan recompute_plan(const Program& program, const OpTable& ops, const RecomputeChoice& choice) {
  Replays replays(program, ops, choice.rates);
  RecomputePlan plan{take_steps(replays, choice), {}};
  for (size_t i = 0; i < program.buffers.size(); ++i) {
    const auto id = static_cast<BufferId>(i);
    if (replays.alive(id)) plan.kept.push_back({id, replays.layer_of(id), replays.step_for(id, Work::product)});
  }
  return plan;
}

}  // namespace centavo
