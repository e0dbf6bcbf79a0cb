#include "program/lifetime.h"

#include <algorithm>
#include <unordered_map>

#include "program/access.h"
#include "program/byte_set.h"

namespace centavo {

bool always_alive(const Buffer& buffer) {
  return buffer.persistent || buffer.borrowed || buffer.kind == BufferKind::cache ||
         buffer.kind == BufferKind::stream_in || buffer.kind == BufferKind::stream_out;
}

bool ends_with_call(const Buffer& buffer) {
  return !buffer.persistent && (buffer.kind == BufferKind::activation || buffer.kind == BufferKind::workspace);
}

std::vector<Life> lifetimes(const Program& program, const Order& order) {
  struct Open {
    size_t life;
    ByteSet defined;
    int call;
  };
  std::vector<Life> lives;
  std::unordered_map<BufferId, Open> open;
  for (int i = 0; i < static_cast<int>(order.timeline().size()); ++i) {
    const Instance& instance = order.timeline()[static_cast<size_t>(i)];
    for (const Access& access : accesses(program, *instance.op)) {
      const Buffer& root = program.buffer(access.root);
      if (always_alive(root)) continue;
      const auto it = open.find(access.root);
      const bool ended = it != open.end() && ends_with_call(root) && it->second.call != instance.call;
      const bool redefined = it != open.end() && access.mode == Access::write &&
                             it->second.defined.within(access.begin, access.end) &&
                             lives[it->second.life].instances.back() != i;
      if (it == open.end() || ended || redefined) {
        open.insert_or_assign(access.root, Open{lives.size(), {}, instance.call});
        lives.push_back({access.root, {}});
      }
      Open& current = open.at(access.root);
      current.defined.insert(access.begin, access.end);
      auto& instances = lives[current.life].instances;
      if (instances.empty() || instances.back() != i) instances.push_back(i);
    }
  }
  return lives;
}

namespace {

// The accesses that matter for being before another life: the last of each lane in the last call, or the first of
// each lane in the first call.
template <class Iterator>
std::vector<int> frontier(const Order& order, Iterator begin, Iterator end) {
  std::vector<int> result;
  std::array<bool, kLanes> seen = {};
  const int call = order.timeline()[static_cast<size_t>(*begin)].call;
  for (Iterator it = begin; it != end; ++it) {
    const Instance& instance = order.timeline()[static_cast<size_t>(*it)];
    if (instance.call != call) break;
    bool& lane_seen = seen.at(static_cast<size_t>(instance.op->lane));
    if (!lane_seen) result.push_back(*it);
    lane_seen = true;
  }
  return result;
}

}  // namespace

Span span_of(const Order& order, const Life& life) {
  const auto call_of = [&](int i) { return order.timeline()[static_cast<size_t>(i)].call; };
  const int first = life.instances.front();
  const int last = life.instances.back();
  return {first,
          last,
          call_of(first),
          call_of(last),
          frontier(order, life.instances.begin(), life.instances.end()),
          frontier(order, life.instances.rbegin(), life.instances.rend())};
}

bool before(const Order& order, const Span& a, const Span& b) {
  if (a.last >= b.first) return false;
  if (a.last_call < b.first_call) return true;
  return std::ranges::all_of(
      a.ends, [&](int i) { return std::ranges::all_of(b.begins, [&](int j) { return order.before(i, j); }); });
}

bool overlap(const Order& order, const std::vector<Span>& a, const std::vector<Span>& b) {
  size_t from = 0;  // lives of `b` before it ended in calls before those of `x` and of all that follow
  for (const Span& x : a) {
    while (from < b.size() && b[from].last_call < x.first_call) ++from;
    for (size_t i = from; i < b.size() && b[i].first_call <= x.last_call; ++i) {
      if (!before(order, x, b[i]) && !before(order, b[i], x)) return true;
    }
  }
  return false;
}

std::unordered_map<BufferId, std::vector<Span>> spans(const Program& program, const Order& order) {
  std::unordered_map<BufferId, std::vector<Span>> result;
  for (const Life& life : lifetimes(program, order)) result[life.root].push_back(span_of(order, life));
  return result;
}

}  // namespace centavo
