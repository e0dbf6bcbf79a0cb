#include "passes/schedule.h"

#include <algorithm>
#include <map>

#include "passes/edges.h"
#include "program/access.h"
#include "program/lifetime.h"
#include "program/order.h"

namespace centavo {
namespace {

Home home_of(const Program& program, BufferId id) { return program.buffer(program.root(id)).home; }

bool copies_between(const Program& program, const Op& op, Home from, Home to) {
  return op.kind == "copy" && home_of(program, op.inputs[0]) == from && home_of(program, op.outputs[0].buffer) == to;
}

void set_lanes(Program& program, const OpTable& ops) {
  for (Section& section : program.sections) {
    for (Op& op : section.ops) {
      if (ops.at(op.kind).collective) op.lane = op.kind == "all_gather" ? Lane::gather : Lane::reduce;
      const bool leaves = copies_between(program, op, Home::device, Home::host);
      if (leaves || copies_between(program, op, Home::host, Home::device)) op.lane = Lane::copy;
    }
  }
}

bool brings_for_a_while(const Program& program, const Op& op) {
  if (copies_between(program, op, Home::host, Home::device)) return true;
  return op.kind == "all_gather" && ends_with_call(program.buffer(program.root(op.outputs[0].buffer)));
}

// Ids of the ops of a lane's groups, in issue order.
using Groups = std::map<Lane, std::vector<std::vector<int32_t>>>;

// Reorders one section. The ops that stay where they are form the `rest`; a place is an index into it, and a moved op
// stands right before the op at its place.
class Prefetch {
 public:
  Prefetch(const Program& program, Section& section, int64_t distance)
      : p_(program), section_(section), distance_(static_cast<size_t>(distance)) {
    for (const Op& op : section_.ops) touches_.push_back(accesses(p_, op));
  }

  Groups run() {
    find_moved();
    for (Moved& moved : moved_) choose_place(moved);
    reorder();
    return std::move(groups_);
  }

 private:
  struct Moved {
    size_t op = 0;
    size_t reader = 0;  // place of its first reader
    size_t place = 0;
  };

  bool conflict(size_t i, size_t j) const {
    return std::ranges::any_of(touches_[i], [&](const Access& a) {
      return std::ranges::any_of(touches_[j], [&](const Access& b) {
        const bool both_read = a.mode == Access::read && b.mode == Access::read;
        return a.root == b.root && a.begin < b.end && b.begin < a.end && !both_read;
      });
    });
  }

  // Latest first, because a gather may be read by another gather: its reader is that one's.
  void find_moved() {
    const size_t n = section_.ops.size();
    std::vector<size_t> reader(n, n);  // as an index into the section; n: the op does not move
    for (size_t i = n; i-- > 0;) {
      if (!brings_for_a_while(p_, section_.ops[i])) continue;
      size_t j = i + 1;
      while (j < n && !conflict(i, j)) ++j;
      if (j < n) reader[i] = reader[j] < n ? reader[j] : j;
    }
    for (size_t i = 0; i < n; ++i) {
      place_of_.push_back(rest_.size());
      stays_.push_back(reader[i] == n);
      if (stays_[i]) rest_.push_back(i);
    }
    for (size_t i = 0; i < n; ++i) {
      if (!stays_[i]) moved_.push_back({i, place_of_[reader[i]], 0});
    }
    std::ranges::stable_sort(moved_, {}, &Moved::reader);
  }

  // The first place behind everything above the op that it conflicts with. Moved ops above it are placed already.
  size_t lowest_place(size_t op) const {
    size_t lowest = 0;
    for (size_t i = 0; i < op; ++i) {
      if (conflict(i, op)) lowest = std::max(lowest, stays_[i] ? place_of_[i] + 1 : place_of_[i]);
    }
    return lowest;
  }

  size_t begin_of_stage(Stage stage) const {
    const auto it = std::ranges::find_if(rest_, [&](size_t i) { return section_.ops[i].stage == stage; });
    return static_cast<size_t>(it - rest_.begin());
  }

  void choose_place(Moved& moved) {
    const Op& op = section_.ops[moved.op];
    std::vector<size_t>& readers = readers_[op.lane];
    auto& groups = groups_[op.lane];
    if (readers.empty() || readers.back() != moved.reader) {
      readers.push_back(moved.reader);
      groups.emplace_back();
    }
    groups.back().push_back(op.id);
    const size_t k = readers.size() - 1;
    const size_t wanted = k >= distance_ ? readers[k - distance_] : begin_of_stage(op.stage);
    size_t& last = last_place_[op.lane];
    last = std::min(std::max({wanted, lowest_place(moved.op), last}), moved.reader);
    moved.place = place_of_[moved.op] = last;
  }

  void reorder() {
    std::ranges::stable_sort(moved_, {}, &Moved::place);
    std::vector<Op> ops;
    auto next = moved_.begin();
    for (size_t place = 0; place < rest_.size(); ++place) {
      for (; next != moved_.end() && next->place == place; ++next) ops.push_back(section_.ops[next->op]);
      ops.push_back(section_.ops[rest_[place]]);
    }
    section_.ops = std::move(ops);
  }

  const Program& p_;
  Section& section_;
  size_t distance_;
  std::vector<std::vector<Access>> touches_;
  std::vector<bool> stays_;
  std::vector<size_t> place_of_;  // of an op that stays: its own
  std::vector<size_t> rest_;
  std::vector<Moved> moved_;
  std::map<Lane, std::vector<size_t>> readers_;  // a place for each group
  std::map<Lane, size_t> last_place_;
  Groups groups_;
};

// The waits that bound memory, section by section, from the lives of what ops bring and send.
class Release {
 public:
  explicit Release(const Program& program) : p_(program), order_(program) {
    for (Life& life : lifetimes(p_, order_)) {
      if (ends_with_call(p_.buffer(life.root))) lives_[life.root].push_back(std::move(life));
    }
  }

  std::vector<Edge> run(const std::vector<Groups>& groups, int64_t distance) {
    const auto& timeline = order_.timeline();
    std::vector<bool> done(p_.sections.size(), false);
    for (int i = 0; i < static_cast<int>(timeline.size()); ++i) {
      section_ = static_cast<size_t>(timeline[static_cast<size_t>(i)].section - p_.sections.data());
      if (done[section_]) continue;
      done[section_] = true;
      at_.clear();
      const auto n = static_cast<int>(p_.sections[section_].ops.size());
      for (int k = 0; k < n; ++k) at_[op_at(i + k).id] = i + k;
      for (const auto& [lane, list] : groups[section_]) bound_groups(list, static_cast<size_t>(distance) + 1);
      bound_reductions(i, n);
      bound_copies(i, n);
    }
    return std::move(edges_);
  }

 private:
  const Op& op_at(int instance) const { return *order_.timeline()[static_cast<size_t>(instance)].op; }

  // The life of the buffer's memory that the instance belongs to; null when it is not bounded by the call.
  const Life* life_at(BufferId buffer, int instance) const {
    const auto it = lives_.find(p_.root(buffer));
    if (it == lives_.end()) return nullptr;
    const auto life = std::ranges::find_if(
        it->second, [&](const Life& l) { return std::ranges::binary_search(l.instances, instance); });
    return life == it->second.end() ? nullptr : &*life;
  }

  void wait(int first, int then) {
    if (first < then && op_at(first).lane != op_at(then).lane) {
      edges_.push_back({section_, op_at(first).id, op_at(then).id});
    }
  }

  void bound_groups(const std::vector<std::vector<int32_t>>& groups, size_t held) {
    for (size_t k = held; k < groups.size(); ++k) {
      const int then = at_.at(groups[k].front());
      for (const int32_t id : groups[k - held]) {
        const Life* life = life_at(op_at(at_.at(id)).outputs[0].buffer, at_.at(id));
        if (life == nullptr || life->instances.back() >= then) continue;
        for (const int use : span_of(order_, *life).ends) wait(use, then);
      }
    }
  }

  // The first op of another lane in the life of what the instance reads; -1 when there is none.
  int first_writer(int instance) const {
    const Life* life = life_at(op_at(instance).inputs[0], instance);
    if (life == nullptr || op_at(life->instances.front()).lane == op_at(instance).lane) return -1;
    return life->instances.front();
  }

  void bound_reductions(int begin, int n) {
    std::vector<std::pair<int, int>> sent;  // reduction, first writer
    for (int i = begin; i < begin + n; ++i) {
      if (op_at(i).lane == Lane::reduce && first_writer(i) >= 0) sent.emplace_back(i, first_writer(i));
    }
    for (size_t k = 2; k < sent.size(); ++k) wait(sent[k - 2].first, sent[k].second);
  }

  void bound_copies(int begin, int n) {
    struct Sent {
      int last = 0;
      std::vector<int> writers;
    };
    std::map<int32_t, Sent> layers;
    for (int i = begin; i < begin + n; ++i) {
      if (!copies_between(p_, op_at(i), Home::device, Home::host) || first_writer(i) < 0) continue;
      Sent& layer = layers[op_at(i).layer];
      layer.last = i;
      layer.writers.push_back(first_writer(i));
    }
    std::vector<const Sent*> sent;
    sent.reserve(layers.size());
    for (const auto& [number, layer] : layers) sent.push_back(&layer);
    for (size_t k = 2; k < sent.size(); ++k) {
      for (const int writer : sent[k]->writers) wait(sent[k - 2]->last, writer);
    }
  }

  const Program& p_;
  const Order order_;
  std::map<BufferId, std::vector<Life>> lives_;
  size_t section_ = 0;
  std::map<int32_t, int> at_;  // the instance of each op in the section's first call
  std::vector<Edge> edges_;
};

}  // namespace

Program schedule(Program program, const OpTable& ops, const ScheduleSettings& settings) {
  CHECK(settings.prefetch >= 0, "a prefetch distance of {}", settings.prefetch);
  set_lanes(program, ops);
  std::vector<Groups> groups;
  for (Section& section : program.sections) groups.push_back(Prefetch(program, section, settings.prefetch).run());
  const std::vector<Edge> edges = Release(program).run(groups, settings.prefetch);
  return derive_edges(std::move(program), ops, edges);
}

}  // namespace centavo
