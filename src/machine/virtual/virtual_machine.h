// The virtual machine: walks the step of a program without running it and says when every op would start and end.
//
// Every lane is an in-order queue. An op starts when its lane is free and every op that its `after` names has ended; a
// call of a section starts when the one before it has ended on every lane. Time starts at 0, nothing else takes time.
//
// Pure: the same program and the same costs give the same spans.
#pragma once

#include <array>
#include <functional>
#include <string>
#include <vector>

#include "program/op_table.h"
#include "program/program.h"

namespace centavo {

// Seconds that one call of an op takes on some machine, 0 or more.
using OpSeconds = std::function<double(const OpView&)>;

enum class LaneModel : uint8_t {
  one_lane,  // the CPU machine: all ops one after another in the order of the text, whatever their lane
  parallel,  // a GPU: lanes run side by side
};

// One op at work. Section and op are those of the program that was walked or run, which must outlive the span.
struct Span {
  int64_t call = 0;  // counts section calls of the step, from 0
  const Section* section = nullptr;
  const Op* op = nullptr;
  double start = 0;  // seconds from the beginning of the step
  double end = 0;

  double seconds() const { return end - start; }
};

// In the order of the step: call by call, each in issue order. Asks the cost of an op once for all calls of its
// section.
std::vector<Span> walk(const Program& program, LaneModel model, const OpSeconds& seconds);

// The spans of a step that was run, from when each op ended, in the order of the step: an op began when its lane was
// free and the ops that it waits for had ended.
std::vector<Span> spans_from_ends(const Program& program, LaneModel model, const std::vector<double>& ends);

// How many spans a step has.
size_t ops_in_step(const Program& program);

// When the last of the spans ends; 0 for none.
double end_of(const std::vector<Span>& spans);

// Seconds in which an op of the lane is at work. What a step takes beyond them the lane waits.
std::array<double, kLanes> busy_by_lane(const std::vector<Span>& spans);

struct KindTime {
  std::string kind;
  int64_t calls = 0;
  double seconds = 0;
};

// What each kind of op takes in all, the longest first. With lanes side by side the sum is more than the step.
std::vector<KindTime> by_kind(const std::vector<Span>& spans);

}  // namespace centavo
