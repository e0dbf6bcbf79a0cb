// Which op instance of a step happens before which.
//
// The step is unrolled to a timeline of op instances (a section called many times in a row stands twice, which shows
// every neighbourhood it can have). Two instances are ordered when one follows the other in the same lane, along
// edges, or across a section call, which is a barrier.
#pragma once

#include <array>
#include <vector>

#include "program/program.h"

namespace centavo {

struct Instance {
  const Section* section = nullptr;
  const Op* op = nullptr;
  int call = 0;  // which section call of the unrolled step
};

class Order {
 public:
  // Edges to ops that do not stand earlier in the section are left out; verify reports them.
  explicit Order(const Program& program);

  const std::vector<Instance>& timeline() const { return timeline_; }
  // Does instance `a` finish before instance `b` starts? Both are indices into the timeline.
  bool before(int a, int b) const;

 private:
  // How far each lane of the section call had come when an op starts: ops of that lane known to be finished.
  using Clock = std::array<int, kLanes>;

  void append_call(const Section& section, int call);

  std::vector<Instance> timeline_;
  std::vector<Clock> clocks_;  // per instance, its own position in its own lane included
};

}  // namespace centavo
