#include "passes/replays.h"

#include <algorithm>

#include "program/access.h"
#include "program/lifetime.h"

namespace centavo {
namespace {

using Work = Replays::Work;
using Form = Replays::Form;
using Step = Replays::Step;

Work work_of(const OpDef& def) {
  if (def.kind == "attention") return Work::attention;
  const bool product = std::ranges::find(def.inputs, Type::product, &Slot::type) != def.inputs.end();
  return product ? Work::product : Work::light;
}

double microseconds(const OpTable& ops, const Program& program, const Op& op, const MachineRates& rates) {
  const Cost cost = ops.at(op.kind).cost(OpView(program, op));
  return 1e6 * std::max(cost.flops / rates.flops_per_s, cost.bytes / rates.bytes_per_s);
}

double gain(const Step& step) { return static_cast<double>(step.bytes) / step.us; }

}  // namespace

Replays::Replays(const Program& program, const OpTable& ops, const Section& micro, const MachineRates& rates)
    : program_(program), micro_(micro), tensors_(program.buffers.size()), forms_(micro.ops.size(), Form::none) {
  for (size_t i = 0; i < micro.ops.size(); ++i) note_accesses(i);
  for (const Op& op : micro.ops) {
    candidates_.push_back(op.stage == Stage::forward ? candidate(ops, op, rates) : Candidate{});
  }
  for (const Op& op : micro.ops) {
    if (op.stage != Stage::forward) note_backward_reads(op);
  }
}

int32_t Replays::layer_of(BufferId id) const {
  const Tensor& t = tensor(id);
  return t.producers.empty() ? -1 : micro_.ops[t.producers[0]].layer;
}

const Op& Replays::in_form(size_t op, Form form) const {
  return form == Form::shortened ? *candidates_[op].short_form : micro_.ops[op];
}

std::vector<BufferId> Replays::droppable() const {
  std::vector<BufferId> result;
  for (size_t i = 0; i < tensors_.size(); ++i) {
    const Tensor& t = tensors_[i];
    if (t.alive && t.steady && !t.pinned) result.push_back(static_cast<BufferId>(i));
  }
  std::ranges::stable_sort(result, {}, [&](BufferId id) { return producers(id)[0]; });
  return result;
}

std::optional<Step> Replays::step_for(BufferId id, Work heaviest) const {
  Step step{id, {}, {}, 0, 0};
  if (tensor(id).pinned || !give_back(id, layer_of(id), heaviest, step)) return std::nullopt;
  for (const auto& [op, form] : step.replays) {
    step.us += price(op, form) - price(op, forms_[op]);
    for (const Output& output : in_form(op, form).outputs) {
      const BufferId out = output.buffer;
      if (out == kNone || !alive(out) || std::ranges::find(step.dropped, out) != step.dropped.end()) continue;
      if (tensor(out).pinned) return std::nullopt;
      step.dropped.push_back(out);
      step.bytes += align_up(program_.buffer(out).bytes());
    }
  }
  return step;
}

std::set<int32_t> Replays::take(const Step& step) {
  std::set<int32_t> changed = {layer_of(step.tensor)};
  for (const auto& [op, form] : step.replays) {
    forms_[op] = form;
    for (const BufferId id : in_form(op, form).inputs) {
      if (id == kNone || layer_of(id) == micro_.ops[op].layer) continue;
      tensor(id).pinned = true;
      changed.insert(layer_of(id));
    }
  }
  for (const BufferId id : step.dropped) tensor(id).alive = false;
  return changed;
}

void Replays::note_accesses(size_t op) {
  const bool forward = micro_.ops[op].stage == Stage::forward;
  for (const Access& access : accesses(program_, micro_.ops[op])) {
    Tensor& t = tensor(access.root);
    const bool writes = access.mode != Access::read;
    const bool whole = access.buffer == access.root;  // values behind views are not followed
    const bool orderly =
        always_alive(program_.buffer(access.root)) ? !writes : whole && (!writes || (forward && !t.read));
    t.steady = t.steady && orderly;
    if (forward && writes) t.producers.push_back(op);
    t.read = t.read || !writes;
  }
}

void Replays::note_backward_reads(const Op& op) {
  for (const Access& access : accesses(program_, op)) {
    Tensor& t = tensor(access.root);
    if (access.mode == Access::write || t.producers.empty()) continue;
    t.alive = !always_alive(program_.buffer(access.root));
    t.pinned = t.pinned || op.layer != layer_of(access.root);
  }
}

Replays::Candidate Replays::candidate(const OpTable& ops, const Op& op, const MachineRates& rates) const {
  const OpDef& def = ops.at(op.kind);
  const bool in_place = std::ranges::any_of(
      op.outputs, [&](const Output& o) { return std::ranges::find(op.inputs, o.buffer) != op.inputs.end(); });
  Candidate c{.replayable = op.layer >= 0 && op.lane == Lane::compute && !def.collective && !in_place,
              .work = work_of(def),
              .layer = op.layer,
              .short_form = def.short_replay == nullptr ? std::nullopt : def.short_replay(op),
              .whole_us = microseconds(ops, program_, op, rates)};
  if (c.short_form) c.short_us = microseconds(ops, program_, *c.short_form, rates);
  for (const Access& access : accesses(program_, op)) {
    if (access.buffer == op.workspace) continue;
    const Buffer& root = program_.buffer(access.root);
    const bool temporary = root.kind == BufferKind::activation && root.home == Home::device && !always_alive(root);
    const bool repeatable = tensor(access.root).steady && (access.mode == Access::read || temporary);
    c.replayable = c.replayable && repeatable;
  }
  return c;
}

double Replays::price(size_t op, Form form) const {
  if (form == Form::none) return 0;
  return form == Form::whole ? candidates_[op].whole_us : candidates_[op].short_us;
}

Form Replays::form_in(const Step& step, size_t op) const {
  const auto it = step.replays.find(op);
  return it == step.replays.end() ? forms_[op] : it->second;
}

bool Replays::gives(size_t op, Form form, BufferId id) const {
  if (form == Form::none) return false;
  const std::vector<Output>& outputs = in_form(op, form).outputs;
  return std::ranges::find(outputs, id, &Output::buffer) != outputs.end();
}

// Can a replay of this layer read it, once the step is taken as far as it is known?
bool Replays::at_hand(BufferId id, int32_t layer, const Step& step) const {
  const BufferId root = program_.root(id);
  if (always_alive(program_.buffer(root))) return true;
  if (alive(root) && id != step.tensor) return true;
  return layer_of(root) == layer &&
         std::ranges::all_of(producers(root), [&](size_t p) { return gives(p, form_in(step, p), id); });
}

bool Replays::give_back(BufferId id, int32_t layer, Work heaviest, Step& step) const {
  return tensor(id).steady && !producers(id).empty() &&
         std::ranges::all_of(producers(id), [&](size_t p) { return replay(p, id, layer, heaviest, step); });
}

// Adds the replay of `op` that gives back `id`, and of what it reads.
bool Replays::replay(size_t op, BufferId id, int32_t layer, Work heaviest, Step& step) const {
  const Candidate& c = candidates_[op];
  if (!c.replayable || c.layer != layer || c.work > heaviest) return false;
  const auto here = [&](BufferId in) { return in == kNone || at_hand(in, layer, step); };
  const bool shorter =
      c.short_form && gives(op, Form::shortened, id) && std::ranges::all_of(c.short_form->inputs, here);
  const Form form = shorter ? Form::shortened : Form::whole;
  if (form_in(step, op) >= form) return true;
  step.replays[op] = form;
  const Op& call = in_form(op, form);
  // What else it writes must become whole again too: others may add to it.
  return std::ranges::all_of(call.outputs,
                             [&](const Output& output) {
                               return output.buffer == kNone || output.buffer == id ||
                                      give_back(output.buffer, layer, heaviest, step);
                             }) &&
         std::ranges::all_of(call.inputs,
                             [&](BufferId in) { return here(in) || give_back(in, layer, heaviest, step); });
}

std::vector<Step> take_all(Replays& replays, Work heaviest) {
  std::vector<Step> steps;
  for (const BufferId id : replays.droppable()) {
    if (!replays.alive(id)) continue;  // dropped along with another
    const auto step = replays.step_for(id, heaviest);
    if (!step) continue;
    replays.take(*step);
    steps.push_back(*step);
  }
  return steps;
}

namespace {

using BestOfLayers = std::map<int32_t, Step>;

void find_best(const Replays& replays, const std::set<int32_t>& layers, BestOfLayers& best) {
  for (const int32_t layer : layers) best.erase(layer);
  for (const BufferId id : replays.droppable()) {
    const int32_t layer = replays.layer_of(id);
    if (!layers.contains(layer)) continue;
    const auto step = replays.step_for(id, Work::product);
    if (!step) continue;
    const auto [it, first] = best.emplace(layer, *step);
    if (!first && gain(*step) > gain(it->second)) it->second = *step;
  }
}

bool still_true(const Replays& replays, const Step& step) {
  const auto now = replays.step_for(step.tensor, Work::product);
  return now && now->replays == step.replays && now->dropped == step.dropped;
}

}  // namespace

// A step changes what can be dropped in its own layer and seldom in another, so each layer's best is remembered; it is
// looked at again before it is taken.
std::vector<Step> take_best(Replays& replays, size_t most) {
  std::vector<Step> steps;
  std::set<int32_t> changed;
  for (const BufferId id : replays.droppable()) changed.insert(replays.layer_of(id));
  BestOfLayers best;
  while (steps.size() < most) {
    find_best(replays, changed, best);
    if (best.empty()) break;
    const auto winner = std::ranges::max_element(
        best, {}, [](const auto& entry) { return gain(entry.second); });  // the first of equals
    if (!still_true(replays, winner->second)) {
      changed = {winner->first};
      continue;
    }
    steps.push_back(winner->second);
    changed = replays.take(winner->second);
  }
  return steps;
}

}  // namespace centavo
