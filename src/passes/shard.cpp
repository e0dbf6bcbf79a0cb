#include "passes/shard.h"

#include <algorithm>

#include "ops/fill/fill.h"
#include "ops/sqnorm/sqnorm.h"
#include "ops/tree_sum/tree_sum.h"
#include "passes/mesh_cuts.h"
#include "passes/units.h"
#include "program/access.h"

namespace centavo {
namespace {

// adamw(w, g, m, v, master?, …) -> w, m, v, master?
enum In : size_t { kW, kG, kM, kV, kMaster };

bool touches(const Program& program, const Op& op, BufferId root, bool writing) {
  return std::ranges::any_of(accesses(program, op), [&](const Access& access) {
    return access.root == root && (!writing || access.mode != Access::read);
  });
}

class Sharder {
 public:
  Sharder(Program program, const ShardChoice& choice)
      : p_(std::move(program)), c_(choice), mesh_(choice.mesh), m_(p_, choice.mesh, choice.rank) {}

  Program run() {
    p_.ranks = mesh_.ranks();
    for (const BufferId unit : unit_buffers(p_)) cut_unit(unit);
    if (update() != nullptr) {
      share_norms();
      share_loss();
    }
    return std::move(p_);
  }

 private:
  // What became of a unit, for the update.
  struct Part {
    BufferId unit;
    Cut cut;             // of its states
    BufferId gradient;   // summed over ranks, of this rank's part
    int64_t blocks = 0;  // of the gradient norm
  };

  Section& micro() { return p_.sections.front(); }
  Section* update() { return p_.find_section("update"); }

  ShardRule rule_of(const Buffer& unit) const {
    const bool layer = unit.name.starts_with("layers.");
    const ShardRule& rule = unit.name.starts_with("vectors") ? c_.vectors : layer ? c_.layers : c_.outer;
    return {m_.plain(rule.weights), m_.plain(rule.gradients), m_.plain(rule.states)};
  }
  bool reduces_each(const ShardRule& rule) const {
    return c_.grad_sum == GradSum::tree || m_.parts(rule.gradients) > 1;
  }

  // --- one unit

  void cut_unit(BufferId unit) {
    const std::string name = p_.buffer(unit).name;
    const ShardRule rule = rule_of(p_.buffer(unit));
    const int64_t block = norm_block_of(p_.buffer(unit).elements());
    const int64_t quantum = mesh_.ranks() * block;
    const int64_t elements = (p_.buffer(unit).elements() + quantum - 1) / quantum * quantum;
    p_.buffer(unit).shape = {elements};
    const bool trained = p_.find(name + ".grad") != kNone && update() != nullptr;
    const BufferId weights = cut_weights(unit, rule);
    if (!trained) return;
    Part part{unit, rule.states, reduce_gradient(unit, rule, elements), elements / m_.parts(rule.states) / block};
    update_part(part, weights, rule, elements);
    parts_.push_back(part);
  }

  // The buffer that keeps the weights.
  BufferId cut_weights(BufferId unit, const ShardRule& rule) {
    if (m_.parts(rule.weights) == 1) return unit;
    Buffer kept = p_.buffer(unit);
    Buffer& whole = p_.buffer(unit);
    whole.kind = BufferKind::activation;
    whole.persistent = whole.trainable = false;
    kept.name += ".shard";
    kept.shape = {kept.elements() / m_.parts(rule.weights)};
    kept.layout = unit;
    kept.shard = m_.shard_of(rule.weights);
    const BufferId shard = p_.add(std::move(kept));
    gather_before_uses(unit, shard, rule.weights);
    return shard;
  }

  void gather_before_uses(BufferId unit, BufferId shard, Cut cut) {
    const auto uses = [&](const Op& op) { return touches(p_, op, unit, false); };
    std::vector<Op>& ops = micro().ops;
    const auto forward = [&](const Op& op) { return op.stage == Stage::forward && uses(op); };
    const auto backward = [&](const Op& op) { return op.stage != Stage::forward && uses(op); };
    const auto first_backward = std::ranges::find_if(ops, backward);
    const auto last_forward = std::find_if(ops.rbegin(), ops.rend(), forward).base();
    const bool kept = last_forward != ops.begin() && units_between(last_forward, first_backward) < 2;
    BufferId between = kNone;
    if (cut == Cut::all && mesh_.nodes > 1 && mesh_.local > 1) {
      const Buffer& whole = p_.buffer(unit);
      between = m_.flat(whole.name + ".node", unit, whole.elements() / mesh_.local, BufferKind::activation);
    }
    const auto insert_before = [&](auto at, Stage stage) {
      if (at == ops.end()) return;
      const std::vector<Op> made = m_.gathers(shard, cut, unit, Cut::whole, between, stage, at->layer);
      ops.insert(at, made.begin(), made.end());
    };
    if (!kept) insert_before(std::ranges::find_if(ops, backward), Stage::backward);
    insert_before(std::ranges::find_if(ops, forward), Stage::forward);
  }

  // Units other than this one whose weights are used between two places of `micro`.
  template <class Iterator>
  size_t units_between(Iterator begin, Iterator end) {
    const std::vector<BufferId> all = unit_buffers(p_);
    return static_cast<size_t>(std::ranges::count_if(all, [&](BufferId unit) {
      return m_.parts(rule_of(p_.buffer(unit)).weights) > 1 &&
             std::any_of(begin, end, [&](const Op& op) { return touches(p_, op, unit, false); });
    }));
  }

  // --- gradients

  // Places the reduction of the unit's gradient; returns where this rank's part of the sum over ranks lies.
  BufferId reduce_gradient(BufferId unit, const ShardRule& rule, int64_t elements) {
    const BufferId gradient = p_.find(p_.buffer(unit).name + ".grad");
    p_.buffer(gradient).shape = {elements};
    const bool each = reduces_each(rule);
    fill_gaps(unit, gradient, each ? Stage::backward : Stage::update);
    if (mesh_.ranks() == 1) return gradient;
    if (each) p_.buffer(gradient).kind = BufferKind::activation;
    // Summed as a tree a gradient is reduced at once to what the update reads.
    const Cut cut = each && c_.grad_sum == GradSum::chain ? rule.gradients : rule.states;
    return each ? reduce_each(gradient, cut, rule) : reduce_once(gradient, cut);
  }

  // Fills what belongs to no tensor, where the last contribution has been written.
  void fill_gaps(BufferId unit, BufferId gradient, Stage stage) {
    const Buffer flat = p_.buffer(gradient);
    for (const Gap& gap : gaps_of(p_, unit, flat.elements())) {
      const std::string name = fmt::format("{}.gap.{}", flat.name, gap.begin);
      std::erase_if(micro().ops,
                    [&](const Op& op) { return op.kind == "fill" && p_.buffer(op.outputs[0].buffer).name == name; });
      BufferId window = p_.find(name);
      if (window == kNone) window = p_.add({.name = name, .dtype = flat.dtype, .kind = flat.kind});
      p_.buffer(window).shape = {gap.end - gap.begin};
      p_.buffer(window).view = View{gradient, gap.begin};
      Op fill = fill_op(window, 0);
      fill.id = fill.logical = m_.next_id();
      fill.stage = stage;
      append_after_last_write(gradient, {fill});
    }
  }

  void append_after_last_write(BufferId root, std::vector<Op> made) {
    std::vector<Op>& ops = micro().ops;
    const auto last = std::find_if(ops.rbegin(), ops.rend(), [&](const Op& op) { return touches(p_, op, root, true); });
    CHECK(last != ops.rend(), "nothing writes {}", p_.buffer(root).name);
    for (Op& op : made) op.layer = last->layer;
    ops.insert(last.base(), made.begin(), made.end());
  }

  // In every micro-batch, into a buffer that is the sum over micro-batches.
  BufferId reduce_each(BufferId gradient, Cut cut, const ShardRule& rule) {
    const Buffer whole = p_.buffer(gradient);
    const bool tree = c_.grad_sum == GradSum::tree;
    const BufferId sum = m_.flat(whole.name + (m_.parts(cut) == 1 ? ".all" : ".shard"), gradient,
                                 whole.elements() / m_.parts(cut), BufferKind::gradient);
    p_.buffer(sum).shard = m_.shard_of(cut);
    std::vector<Op> made;
    if (m_.parts(cut) == 1) {
      BufferId from = gradient;
      if (mesh_.local > 1 && mesh_.nodes > 1) {
        made.push_back(m_.collective("all_reduce", gradient, gradient, m_.local_axis(), Stage::backward, -1));
      }
      const Axis axis = mesh_.nodes > 1 ? m_.node_axis() : m_.local_axis();
      made.push_back(m_.collective("all_reduce", from, sum, axis, Stage::backward, -1));
    } else {
      made = scatter(gradient, cut, sum, tree);
    }
    append_after_last_write(gradient, std::move(made));
    // Nodes that keep the same part add what they have summed over their micro-batches.
    const bool nodes_differ = cut == Cut::local && mesh_.nodes > 1 && !tree;
    if (nodes_differ) {
      append_after_last_write(sum, {m_.collective("all_reduce", sum, sum, m_.node_axis(), Stage::update, -1)});
    }
    CHECK(rule.states == cut, "{}: states are cut otherwise than gradients", whole.name);
    return sum;
  }

  // Reduce-scatters of a whole gradient to `to`, cut as `cut`: inside the node, then over the nodes.
  std::vector<Op> scatter(BufferId gradient, Cut cut, BufferId to, bool tree) {
    const Stage stage = Stage::backward;
    const bool over_nodes = mesh_.nodes > 1 && (cut == Cut::all || tree);
    if (!over_nodes) return {m_.collective("reduce_scatter", gradient, to, m_.local_axis(), stage, -1)};
    const char* second = cut == Cut::all ? "reduce_scatter" : "all_reduce";
    if (mesh_.local == 1) return {m_.collective(second, gradient, to, m_.node_axis(), stage, -1)};
    const Buffer whole = p_.buffer(gradient);
    const BufferId node =
        m_.flat(whole.name + ".node", gradient, whole.elements() / mesh_.local, BufferKind::activation);
    return {m_.collective("reduce_scatter", gradient, node, m_.local_axis(), stage, -1),
            m_.collective(second, node, to, m_.node_axis(), stage, -1)};
  }

  // After the last micro-batch, in place.
  BufferId reduce_once(BufferId gradient, Cut cut) {
    std::vector<Op> made;
    BufferId part = gradient;
    const auto step = [&](const Axis& axis, Cut refined) {
      if (axis.ranks == 1) return;
      const BufferId to =
          cut == Cut::whole ? part : m_.window(part, part == gradient ? Cut::whole : Cut::local, refined);
      made.push_back(
          m_.collective(cut == Cut::whole ? "all_reduce" : "reduce_scatter", part, to, axis, Stage::update, -1));
      part = to;
    };
    const bool two = mesh_.local > 1 && mesh_.nodes > 1;
    step(m_.local_axis(), two ? Cut::local : Cut::all);
    step(m_.node_axis(), Cut::all);
    append_after_last_write(gradient, std::move(made));
    return part;
  }

  // --- update

  // AdamW works on this rank's part: its weights and states, and the gradient summed over ranks.
  void update_part(const Part& part, BufferId weights, const ShardRule& rule, int64_t elements) {
    const BufferId mine = own_weights(weights, rule);
    std::vector<Op>& ops = update()->ops;
    const auto at =
        std::ranges::find_if(ops, [&](const Op& op) { return op.kind == "adamw" && op.inputs.at(kW) == part.unit; });
    CHECK(at != ops.end(), "unit {} has no update", p_.buffer(part.unit).name);
    at->inputs[kW] = at->outputs[0].buffer = mine;
    at->inputs[kG] = part.gradient;
    for (const size_t i : {kM, kV, kMaster}) {
      if (at->inputs[i] != kNone) cut_state(at->inputs[i], part, elements);
    }
    cut_kept_states(part, elements);
    const std::vector<Op> made = share_weights(mine, weights, rule);
    ops.insert(at + 1, made.begin(), made.end());
  }

  BufferId own_weights(BufferId weights, const ShardRule& rule) {
    if (m_.parts(rule.states) == m_.parts(rule.weights)) return weights;
    const bool two = rule.weights == Cut::whole && rule.states == Cut::all && mesh_.local > 1 && mesh_.nodes > 1;
    if (!two) return m_.window(weights, rule.weights, rule.states);
    return m_.window(m_.window(weights, Cut::whole, Cut::local), Cut::local, Cut::all);
  }

  // New weights for everybody who keeps them, in place.
  std::vector<Op> share_weights(BufferId mine, BufferId weights, const ShardRule& rule) {
    if (mine == weights) return {};
    const BufferId between = p_.buffer(mine).view->parent;
    return m_.gathers(mine, rule.states, weights, rule.weights, between, Stage::update, -1);
  }

  void cut_state(BufferId state, const Part& part, int64_t elements) {
    p_.buffer(state).shape = {elements / m_.parts(part.cut)};
    p_.buffer(state).shard = m_.shard_of(part.cut);
  }

  // States that wait elsewhere (on the host) are cut like those that AdamW sees.
  void cut_kept_states(const Part& part, int64_t elements) {
    for (size_t i = 0; i < p_.buffers.size(); ++i) {
      const Buffer& b = p_.buffers[i];
      if (b.layout == part.unit && b.kind == BufferKind::optimizer_state) {
        cut_state(static_cast<BufferId>(i), part, elements);
      }
    }
  }

  // --- what every rank must know of all

  static std::string name_of_window(const char* parent, const Buffer& unit) {
    return fmt::format("{}.{}", parent, unit.name);
  }

  // Each rank sums the squares of its part; the sums are gathered, so that every rank adds all of them in one order.
  void share_norms() {
    int64_t blocks = 0;
    for (const Part& part : parts_) {
      Buffer& window = p_.buffer(p_.find(name_of_window("partials", p_.buffer(part.unit))));
      window.view->offset = blocks;
      window.shape = {part.blocks};
      blocks += part.blocks;
    }
    const BufferId partials = p_.find("partials");
    p_.buffer(partials).shape = {blocks};
    const BufferId all = gather_norms(partials, blocks);
    int64_t begin = 0;
    for (const Part& part : parts_) {
      read_norms(part, all, begin, blocks);
      begin += part.blocks;
    }
  }

  // After the last of the partial sums; in the order of the parts: [local][node][blocks].
  BufferId gather_norms(BufferId partials, int64_t blocks) {
    const bool cut = std::ranges::any_of(parts_, [&](const Part& part) { return m_.parts(part.cut) > 1; });
    if (!cut) return partials;
    const BufferId all = p_.add({.name = "partials.all", .shape = {blocks * mesh_.ranks()}});
    BufferId node = kNone;
    if (mesh_.nodes > 1 && mesh_.local > 1) node = p_.add({.name = "partials.nodes", .shape = {blocks * mesh_.nodes}});
    std::vector<Op>& ops = update()->ops;
    const auto last = std::find_if(ops.rbegin(), ops.rend(), [](const Op& op) { return op.kind == "sqnorm"; });
    const std::vector<Op> made = m_.gathers(partials, Cut::all, all, Cut::whole, node, Stage::update, -1);
    ops.insert(last.base(), made.begin(), made.end());
    return all;
  }

  void read_norms(const Part& part, BufferId all, int64_t begin, int64_t blocks) {
    const std::string sum = name_of_window("norms", p_.buffer(part.unit));
    const std::string squares = name_of_window("partials", p_.buffer(part.unit));
    for (Op& op : update()->ops) {
      if (op.kind == "sqnorm" && p_.buffer(op.outputs[0].buffer).name == squares) op.inputs[0] = part.gradient;
      if (op.kind != "tree_sum" || p_.buffer(op.outputs[0].buffer).name != sum) continue;
      op.inputs[0] = all;
      const int64_t apart = part.cut == Cut::whole ? 0 : part.cut == Cut::local ? mesh_.nodes : 1;
      op.attributes = tree_sum_attributes(
          {.parts = m_.parts(part.cut), .stride = apart * blocks, .begin = begin, .count = part.blocks});
    }
  }

  // A count is exact in any order. A loss that is summed as a tree is reduced in every micro-batch, like gradients.
  void share_loss() {
    if (mesh_.ranks() == 1) return;
    share_sum("count", false);
    share_sum("loss", c_.grad_sum == GradSum::tree);
  }

  void share_sum(const std::string& name, bool each) {
    const BufferId own = p_.find(name);
    const Buffer like = p_.buffer(own);
    const BufferId all =
        p_.add({.name = name + ".all", .dtype = like.dtype, .shape = like.shape, .kind = BufferKind::control});
    const Stage stage = each ? Stage::backward : Stage::update;
    std::vector<Op> made;
    BufferId from = own;
    for (const Axis& axis : {m_.local_axis(), m_.node_axis()}) {
      if (axis.ranks == 1) continue;
      made.push_back(m_.collective("all_reduce", from, all, axis, stage, -1));
      from = all;
    }
    std::vector<Op>& ops = update()->ops;
    const auto clip = std::ranges::find(ops, "clip", &Op::kind);
    std::ranges::replace(clip->inputs, own, all);
    if (each) {
      append_after_last_write(own, std::move(made));
    } else {
      ops.insert(clip, made.begin(), made.end());
    }
  }

  Program p_;
  const ShardChoice c_;
  const Mesh mesh_;
  MeshCuts m_;
  std::vector<Part> parts_;
};

}  // namespace

Program shard(Program program, const OpTable&, const ShardChoice& choice) {
  CHECK(choice.rank >= 0 && choice.rank < choice.mesh.ranks(), "rank {} of {}", choice.rank, choice.mesh.ranks());
  if (choice.mesh.ranks() == 1 && choice.grad_sum == GradSum::chain) return program;
  return Sharder(std::move(program), choice).run();
}

}  // namespace centavo
