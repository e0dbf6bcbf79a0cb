#include "program/order.h"

#include <algorithm>
#include <unordered_map>

namespace centavo {

Order::Order(const Program& program) {
  int call = 0;
  for (const Call& c : program.step) {
    const Section* section = program.find_section(c.section);
    CHECK(section != nullptr, "the step calls section {}, which is not there", c.section);
    const int64_t shown = std::min<int64_t>(c.times, 2);
    for (int64_t i = 0; i < shown; ++i) append_call(*section, call++);
  }
}

void Order::append_call(const Section& section, int call) {
  std::array<Clock, kLanes> lane_clock = {};  // of the last op in each lane
  std::unordered_map<int32_t, size_t> index;
  for (const Op& op : section.ops) {
    const auto lane = static_cast<size_t>(op.lane);
    Clock clock = lane_clock[lane];
    for (const int32_t id : op.after) {
      const auto it = index.find(id);
      if (it == index.end()) continue;
      for (size_t l = 0; l < kLanes; ++l) clock[l] = std::max(clock[l], clocks_[it->second][l]);
    }
    clock[lane] = lane_clock[lane][lane] + 1;
    lane_clock[lane] = clock;
    index[op.id] = clocks_.size();
    timeline_.push_back({&section, &op, call});
    clocks_.push_back(clock);
  }
}

bool Order::before(int a, int b) const {
  const Instance& first = timeline_[static_cast<size_t>(a)];
  const Instance& second = timeline_[static_cast<size_t>(b)];
  if (first.call != second.call) return first.call < second.call;
  if (a >= b) return false;
  const auto lane = static_cast<size_t>(first.op->lane);
  return clocks_[static_cast<size_t>(b)][lane] >= clocks_[static_cast<size_t>(a)][lane];
}

}  // namespace centavo
