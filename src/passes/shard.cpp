#include "passes/shard.h"

#include <algorithm>

#include "ops/sqnorm/sqnorm.h"
#include "ops/tree_sum/tree_sum.h"
#include "passes/units.h"
#include "program/access.h"

namespace centavo {
namespace {

// adamw(w, g, m, v, master?, …) -> w, m, v, master?
enum In : size_t { kW, kG, kM, kV, kMaster };

bool touches(const Program& program, const Op& op, BufferId root) {
  return std::ranges::any_of(accesses(program, op), [&](const Access& access) { return access.root == root; });
}

bool writes(const Program& program, const Op& op, BufferId root) {
  return std::ranges::any_of(accesses(program, op),
                             [&](const Access& access) { return access.root == root && access.mode != Access::read; });
}

class Sharder {
 public:
  Sharder(Program program, const ShardChoice& choice)
      : p_(std::move(program)),
        m_(p_, choice.mesh, choice.rank),
        rule_{m_.plain(choice.rule.weights), m_.plain(choice.rule.gradients), m_.plain(choice.rule.states)},
        tree_(choice.grad_sum == GradSum::tree),
        next_id_(p_.next_op_id()) {}

  Program run() {
    p_.ranks = m_.parts(Cut::all);
    for (const BufferId unit : unit_buffers(p_)) cut_unit(unit);
    if (update() != nullptr) {
      share_norms();
      share_sum("count", Stage::update);  // exact in any order
      share_sum("loss", tree_ ? Stage::backward : Stage::update);
    }
    return std::move(p_);
  }

 private:
  // What became of a unit, for the norms.
  struct Part {
    std::string name;
    BufferId gradient;   // summed over ranks, of this rank's part
    int64_t blocks = 0;  // of the gradient norm
  };

  Section& micro() { return p_.sections.front(); }
  Section* update() { return p_.find_section("update"); }

  // --- one unit

  void cut_unit(BufferId unit) {
    const std::string name = p_.buffer(unit).name;
    const int64_t block = norm_block_of(p_.buffer(unit).elements());
    const int64_t quantum = p_.ranks * block;
    const int64_t elements = (p_.buffer(unit).elements() + quantum - 1) / quantum * quantum;
    p_.buffer(unit).shape = {elements};
    const BufferId weights = cut_weights(unit);
    const BufferId whole = p_.find(name + ".grad");
    if (whole == kNone || update() == nullptr) return;
    p_.buffer(whole).shape = {elements};
    const BufferId gradient = reduce_gradient(unit, whole);
    update_part(unit, weights, gradient);
    parts_.push_back({name, gradient, elements / m_.parts(rule_.states) / block});
  }

  // Vectors are small, and needed everywhere.
  Cut weights_of(BufferId unit) const { return holds_vectors(p_, unit) ? Cut::whole : rule_.weights; }

  // The buffer that keeps the weights.
  BufferId cut_weights(BufferId unit) {
    const Cut cut = weights_of(unit);
    if (m_.parts(cut) == 1) return unit;
    Buffer kept = p_.buffer(unit);
    Buffer& whole = p_.buffer(unit);
    whole.kind = BufferKind::activation;
    whole.persistent = whole.trainable = false;
    kept.name += ".shard";
    kept.shape = {kept.elements() / m_.parts(cut)};
    kept.layout = unit;
    kept.shard = m_.shard_of(cut);
    const BufferId shard = p_.add(std::move(kept));
    gather_before_uses(m_.between(unit, shard, cut, p_.buffer(unit).name + ".node"), cut);
    return shard;
  }

  // In the forward and again in the backward; not where fewer than two other units are used between the two.
  void gather_before_uses(const Route& route, Cut cut) {
    std::vector<Op>& ops = micro().ops;
    const auto uses = [&](const Op& op) { return touches(p_, op, route.whole); };
    const auto forward = [&](const Op& op) { return op.stage == Stage::forward && uses(op); };
    const auto backward = [&](const Op& op) { return op.stage != Stage::forward && uses(op); };
    const auto insert_before = [&](auto at, Stage stage) {
      if (at != ops.end()) insert(micro(), at, m_.gather(route, Cut::whole, cut, stage), at->layer);
    };
    const auto again = std::ranges::find_if(ops, backward);
    const auto last_forward = std::find_if(ops.rbegin(), ops.rend(), forward).base();
    const bool stays = last_forward != ops.begin() && units_between(last_forward, again) < 2;
    if (!stays) insert_before(again, Stage::backward);
    insert_before(std::ranges::find_if(ops, forward), Stage::forward);
  }

  // Units other than this one whose gathered weights are used between two places of `micro`.
  template <class Iterator>
  size_t units_between(Iterator begin, Iterator end) {
    const std::vector<BufferId> all = unit_buffers(p_);
    return static_cast<size_t>(std::ranges::count_if(all, [&](BufferId unit) {
      return m_.parts(weights_of(unit)) > 1 &&
             std::any_of(begin, end, [&](const Op& op) { return touches(p_, op, unit); });
    }));
  }

  // --- gradients

  // Places the reduction of the unit's gradient; returns where this rank's part of the sum over ranks lies.
  BufferId reduce_gradient(BufferId unit, BufferId gradient) {
    const bool each = tree_ || m_.parts(rule_.gradients) > 1;
    fill_gaps(unit, gradient, each ? Stage::backward : Stage::update);
    if (p_.ranks == 1) return gradient;
    return each ? reduce_each(gradient) : reduce_once(gradient);
  }

  // Zeros in what belongs to no tensor, where the last contribution has been written.
  void fill_gaps(BufferId unit, BufferId gradient, Stage stage) {
    for (Op& fill : gap_fills(p_, unit, gradient)) {
      std::erase_if(micro().ops, [&](const Op& op) { return op.kind == fill.kind && op.outputs == fill.outputs; });
      fill.stage = stage;
      insert_after_last_write(micro(), gradient, {fill});
    }
  }

  // After the last micro-batch, in place.
  BufferId reduce_once(BufferId gradient) {
    const Route route = m_.windows(gradient, Cut::whole, rule_.states);
    insert_after_last_write(micro(), gradient, m_.reduce(route, rule_.states, Stage::update));
    return route.part;
  }

  // In every micro-batch, into a buffer that is the sum over micro-batches.
  BufferId reduce_each(BufferId gradient) {
    const Cut cut = rule_.states;
    Buffer& whole = p_.buffer(gradient);
    whole.kind = BufferKind::activation;
    const std::string name = whole.name;
    const BufferId sum = p_.add({.name = name + (m_.parts(cut) == 1 ? ".all" : ".shard"),
                                 .dtype = whole.dtype,
                                 .shape = {whole.elements() / m_.parts(cut)},
                                 .kind = BufferKind::gradient,
                                 .shard = m_.shard_of(cut)});
    // In a chain, nodes that keep the same part add what they have summed over their micro-batches.
    const Cut last = tree_ ? Cut::all : cut;
    const Route route =
        cut == Cut::whole ? Route{gradient, gradient, sum} : m_.between(gradient, sum, last, name + ".node");
    insert_after_last_write(micro(), gradient, m_.reduce(route, cut, Stage::backward, Cut::whole, last));
    insert_after_last_write(micro(), sum, m_.reduce({sum, sum, sum}, cut, Stage::update, last));
    return sum;
  }

  // --- update

  // AdamW works on this rank's part: its weights and states, and the gradient summed over ranks. New weights go to
  // everybody who keeps them.
  void update_part(BufferId unit, BufferId weights, BufferId gradient) {
    const Cut kept = weights_of(unit);
    const Route route = m_.windows(weights, kept, rule_.states);
    std::vector<Op>& ops = update()->ops;
    const auto adamw =
        std::ranges::find_if(ops, [&](const Op& op) { return op.kind == "adamw" && op.inputs.at(kW) == unit; });
    CHECK(adamw != ops.end(), "unit {} has no update", p_.buffer(unit).name);
    adamw->inputs[kW] = adamw->outputs[0].buffer = route.part;
    adamw->inputs[kG] = gradient;
    for (const size_t state : {kM, kV, kMaster}) cut_state(adamw->inputs[state], unit);
    for (size_t i = 0; i < p_.buffers.size(); ++i) {  // some wait on the host
      const Buffer& b = p_.buffers[i];
      if (b.layout == unit && b.kind == BufferKind::optimizer_state) cut_state(static_cast<BufferId>(i), unit);
    }
    insert(*update(), adamw + 1, m_.gather(route, kept, rule_.states, Stage::update), -1);
  }

  void cut_state(BufferId state, BufferId unit) {
    if (state == kNone) return;
    p_.buffer(state).shape = {p_.buffer(unit).elements() / m_.parts(rule_.states)};
    p_.buffer(state).shard = m_.shard_of(rule_.states);
  }

  // --- what every rank must know of all

  // Each rank sums the squares of its part; the sums are gathered, so that every rank adds all of them in one order.
  void share_norms() {
    const BufferId partials = p_.find("partials");
    int64_t blocks = 0;
    for (const Part& part : parts_) {
      const BufferId squares = p_.find("partials." + part.name);
      p_.buffer(squares).view->offset = blocks;
      p_.buffer(squares).shape = {part.blocks};
      op_of_update(squares).inputs[0] = part.gradient;
      blocks += part.blocks;
    }
    p_.buffer(partials).shape = {blocks};
    const int64_t parts = m_.parts(rule_.states);
    const BufferId all = parts > 1 ? gather_norms(partials, blocks) : partials;
    // `all` holds the sums of every rank in the order of a cut over all: ranks that keep the same part lie side by
    // side, and the first is read.
    const int64_t stride = rule_.states == Cut::whole ? 0 : p_.ranks / parts * blocks;
    int64_t begin = 0;
    for (const Part& part : parts_) {
      Op& sum = op_of_update(p_.find("grad_norms." + part.name));
      sum.inputs[0] = all;
      sum.attributes = tree_sum_attributes({.parts = parts, .stride = stride, .begin = begin, .count = part.blocks});
      begin += part.blocks;
    }
  }

  BufferId gather_norms(BufferId partials, int64_t blocks) {
    const BufferId all = p_.add({.name = "partials.all", .shape = {blocks * p_.ranks}});
    const Route route = m_.between(all, partials, Cut::all, "partials.nodes");
    insert_after_last_write(*update(), partials, m_.gather(route, Cut::whole, Cut::all, Stage::update));
    return all;
  }

  // The one that writes a buffer.
  Op& op_of_update(BufferId id) {
    const auto op = std::ranges::find_if(
        update()->ops, [&](const Op& o) { return std::ranges::count(o.outputs, id, &Output::buffer) > 0; });
    CHECK(op != update()->ops.end(), "nothing writes {}", p_.buffer(id).name);
    return *op;
  }

  // `backward`: in every micro-batch, like gradients that are summed as a tree.
  void share_sum(const std::string& name, Stage stage) {
    if (p_.ranks == 1) return;
    const BufferId own = p_.find(name);
    const Buffer like = p_.buffer(own);
    const BufferId all =
        p_.add({.name = name + ".all", .dtype = like.dtype, .shape = like.shape, .kind = BufferKind::control});
    const auto clip = std::ranges::find(update()->ops, "clip", &Op::kind);
    std::ranges::replace(clip->inputs, own, all);
    std::vector<Op> made = m_.reduce({own, all, all}, Cut::whole, stage);
    if (stage == Stage::update) {
      insert(*update(), clip, std::move(made), -1);
    } else {
      insert_after_last_write(micro(), own, std::move(made));
    }
  }

  // --- places

  void insert(Section& section, std::vector<Op>::iterator at, std::vector<Op> made, int32_t layer) {
    for (Op& op : made) {
      op.id = op.logical = next_id_++;
      op.layer = layer;
    }
    section.ops.insert(at, made.begin(), made.end());
  }

  void insert_after_last_write(Section& section, BufferId root, std::vector<Op> made) {
    std::vector<Op>& ops = section.ops;
    const auto last = std::find_if(ops.rbegin(), ops.rend(), [&](const Op& op) { return writes(p_, op, root); });
    CHECK(last != ops.rend(), "nothing writes {}", p_.buffer(root).name);
    insert(section, last.base(), std::move(made), last->layer);
  }

  Program p_;
  MeshCuts m_;
  const ShardRule rule_;
  const bool tree_;
  int32_t next_id_;
  std::vector<Part> parts_;
};

}  // namespace

Program shard(Program program, const OpTable&, const ShardChoice& choice) {
  const ShardRule& rule = choice.rule;
  CHECK(choice.rank >= 0 && choice.rank < choice.mesh.ranks(), "rank {} of {}", choice.rank, choice.mesh.ranks());
  CHECK(rule.gradients == Cut::whole || rule.gradients == rule.states, "gradients are cut otherwise than states");
  if (choice.mesh.ranks() == 1 && choice.grad_sum == GradSum::chain) return program;
  return Sharder(std::move(program), choice).run();
}

}  // namespace centavo
