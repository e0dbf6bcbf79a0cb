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

// The first access of each lane in the call of the first one, walking from `begin`.
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

std::vector<int> last_accesses(const Order& order, const Life& life) {
  return frontier(order, life.instances.rbegin(), life.instances.rend());
}

std::vector<int> first_accesses(const Order& order, const Life& life) {
  return frontier(order, life.instances.begin(), life.instances.end());
}

bool before(const Order& order, const Life& a, const Life& b) {
  if (a.instances.back() >= b.instances.front()) return false;
  const auto last = last_accesses(order, a);
  const auto first = first_accesses(order, b);
  return std::ranges::all_of(
      last, [&](int i) { return std::ranges::all_of(first, [&](int j) { return order.before(i, j); }); });
}

}  // namespace centavo
