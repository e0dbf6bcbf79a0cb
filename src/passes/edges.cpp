#include "passes/edges.h"

#include <algorithm>
#include <array>
#include <unordered_map>

#include "program/access.h"
#include "program/lifetime.h"
#include "program/order.h"

namespace centavo {
namespace {

// Per lane the last op that must have ended, as an index into the section; -1: none. Earlier ops of a lane have then
// ended as well.
using Needs = std::array<int, kLanes>;
constexpr Needs kNoNeeds = {-1, -1, -1, -1};

size_t lane_of(const Op& op) { return static_cast<size_t>(op.lane); }

class EdgeFinder {
 public:
  EdgeFinder(const Program& program, const OpTable& ops) : p_(program), ops_(ops) {
    for (const Section& section : p_.sections) needs_.emplace_back(section.ops.size(), kNoNeeds);
  }

  std::vector<std::vector<Needs>> run(std::span<const Edge> also) {
    for (size_t s = 0; s < p_.sections.size(); ++s) {
      need_data(s);
      need_one_order_of_collectives(s);
    }
    if (!p_.arena_bytes.empty()) need_addresses();
    for (const Edge& edge : also)
      need(edge.section, index_of(edge.section, edge.first), index_of(edge.section, edge.then));
    return std::move(needs_);
  }

 private:
  void need(size_t section, int first, int then) {
    const std::vector<Op>& list = p_.sections[section].ops;
    CHECK(first < then, "%{} must end before %{}, which stands above it", list[first].id, list[then].id);
    int& last = needs_[section][static_cast<size_t>(then)][lane_of(list[static_cast<size_t>(first)])];
    last = std::max(last, first);
  }

  int index_of(size_t section, int32_t id) const {
    const std::vector<Op>& list = p_.sections[section].ops;
    const auto it = std::ranges::find(list, id, &Op::id);
    CHECK(it != list.end(), "section {} has no op %{}", p_.sections[section].name, id);
    return static_cast<int>(it - list.begin());
  }

  struct Seen {
    int op;
    Access access;
  };

  static bool conflict(const Access& a, const Access& b) {
    return a.begin < b.end && b.begin < a.end && (a.mode != Access::read || b.mode != Access::read);
  }

  void need_data(size_t s) {
    std::unordered_map<BufferId, std::array<std::vector<Seen>, kLanes>> seen;
    const std::vector<Op>& list = p_.sections[s].ops;
    for (int i = 0; i < static_cast<int>(list.size()); ++i) {
      const size_t own = lane_of(list[static_cast<size_t>(i)]);
      for (const Access& access : accesses(p_, list[static_cast<size_t>(i)])) {
        auto& lanes = seen[access.root];
        for (size_t lane = 0; lane < kLanes; ++lane) {
          if (lane != own) need_last_conflict(s, lanes[lane], i, access);
        }
        lanes[own].push_back({i, access});
      }
    }
  }

  void need_last_conflict(size_t s, const std::vector<Seen>& seen, int op, const Access& access) {
    const auto it =
        std::find_if(seen.rbegin(), seen.rend(), [&](const Seen& earlier) { return conflict(earlier.access, access); });
    if (it != seen.rend()) need(s, it->op, op);
  }

  void need_one_order_of_collectives(size_t s) {
    const std::vector<Op>& list = p_.sections[s].ops;
    int last = -1;
    for (int i = 0; i < static_cast<int>(list.size()); ++i) {
      if (!ops_.at(list[static_cast<size_t>(i)].kind).collective) continue;
      if (last >= 0) need(s, last, i);
      last = i;
    }
  }

  struct Placed {
    BufferId id;
    int64_t begin;
    int64_t end;
  };

  void need_addresses() {
    const Order order(p_);
    std::unordered_map<BufferId, std::vector<Span>> lives = spans(p_, order);
    for (const Home home : {Home::device, Home::host}) {
      const std::vector<Placed> placed = placed_at(home);
      for (size_t i = 0; i < placed.size(); ++i) {
        for (size_t j = i + 1; j < placed.size() && placed[j].begin < placed[i].end; ++j) {
          need_turns(order, lives[placed[i].id], lives[placed[j].id]);
          need_turns(order, lives[placed[j].id], lives[placed[i].id]);
        }
      }
    }
  }

  std::vector<Placed> placed_at(Home home) const {
    std::vector<Placed> placed;
    for (size_t i = 0; i < p_.buffers.size(); ++i) {
      const Buffer& b = p_.buffers[i];
      if (b.home != home || !b.offset_bytes || always_alive(b)) continue;
      placed.push_back({static_cast<BufferId>(i), *b.offset_bytes, *b.offset_bytes + b.bytes()});
    }
    std::ranges::sort(placed, {}, &Placed::begin);
    return placed;
  }

  // Every life of `a` before each life of `b` that begins, later in the text, in the section call where it ends.
  void need_turns(const Order& order, const std::vector<Span>& a, const std::vector<Span>& b) {
    for (const Span& x : a) {
      auto y = std::ranges::lower_bound(b, x.last_call, {}, &Span::first_call);
      for (; y != b.end() && y->first_call == x.last_call; ++y) {
        if (x.last >= y->first) continue;
        for (const int i : x.ends) {
          for (const int j : y->begins) need_instances(order, i, j);
        }
      }
    }
  }

  void need_instances(const Order& order, int i, int j) {
    const Instance& first = order.timeline()[static_cast<size_t>(i)];
    const Instance& then = order.timeline()[static_cast<size_t>(j)];
    if (first.op->lane == then.op->lane) return;
    const auto section = static_cast<size_t>(first.section - p_.sections.data());
    need(section, static_cast<int>(first.op - first.section->ops.data()),
         static_cast<int>(then.op - then.section->ops.data()));
  }

  const Program& p_;
  const OpTable& ops_;
  std::vector<std::vector<Needs>> needs_;
};

// Of each op's needs those that its lane and its other edges do not show already.
void keep_smallest(Section& section, const std::vector<Needs>& needs) {
  std::vector<Needs> clocks;  // per op the last op of each lane known to have ended, itself included
  Needs lane_clock[kLanes];
  std::ranges::fill(lane_clock, kNoNeeds);
  for (size_t i = 0; i < section.ops.size(); ++i) {
    Op& op = section.ops[i];
    Needs& clock = lane_clock[lane_of(op)];
    Needs latest_first = needs[i];
    std::ranges::sort(latest_first, std::greater());
    op.after.clear();
    for (const int need : latest_first) {
      if (need < 0) continue;
      const Op& earlier = section.ops[static_cast<size_t>(need)];
      if (clock[lane_of(earlier)] >= need) continue;
      op.after.insert(op.after.begin(), earlier.id);
      for (size_t lane = 0; lane < kLanes; ++lane) {
        clock[lane] = std::max(clock[lane], clocks[static_cast<size_t>(need)][lane]);
      }
    }
    clock[lane_of(op)] = static_cast<int>(i);
    clocks.push_back(clock);
  }
}

}  // namespace

Program derive_edges(Program program, const OpTable& ops, std::span<const Edge> also) {
  const std::vector<std::vector<Needs>> needs = EdgeFinder(program, ops).run(also);
  for (size_t s = 0; s < program.sections.size(); ++s) keep_smallest(program.sections[s], needs[s]);
  return program;
}

}  // namespace centavo
