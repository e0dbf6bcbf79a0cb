#include "machine/virtual/virtual_machine.h"

#include <algorithm>
#include <functional>
#include <map>
#include <string_view>
#include <unordered_map>

namespace centavo {
namespace {

// A section's ops with what a call of it needs to know: edges as places in the section, and costs.
struct Timed {
  const Section* section;
  std::vector<std::vector<size_t>> after = {};
  std::vector<double> seconds = {};
};

// When op `i` of the section ends that begins at `begin`.
using EndOf = std::function<double(const Timed&, size_t i, double begin)>;

Timed timed(const Program& program, const Section& section, const OpSeconds& seconds) {
  Timed result{&section};
  std::unordered_map<int32_t, size_t> place;
  for (const Op& op : section.ops) {
    std::vector<size_t> after;
    for (const int32_t id : op.after) {
      const auto it = place.find(id);
      CHECK(it != place.end(), "%{} of section {} waits for %{}, which does not stand above it", op.id, section.name,
            id);
      after.push_back(it->second);
    }
    place[op.id] = result.after.size();
    result.after.push_back(std::move(after));
    result.seconds.push_back(seconds(OpView(program, op)));
  }
  return result;
}

// One call, which starts at `start`; returns when it ends on every lane.
double walk_call(const Timed& timed, LaneModel model, const EndOf& end_of_op, int64_t call, double start,
                 std::vector<Span>& spans) {
  const size_t first = spans.size();
  std::array<double, kLanes> free;
  free.fill(start);
  for (size_t i = 0; i < timed.section->ops.size(); ++i) {
    const Op& op = timed.section->ops[i];
    double& lane = free[model == LaneModel::one_lane ? 0 : static_cast<size_t>(op.lane)];
    double begin = lane;
    for (const size_t before : timed.after[i]) begin = std::max(begin, spans[first + before].end);
    lane = end_of_op(timed, i, begin);
    spans.push_back({call, timed.section, &op, begin, lane});
  }
  return *std::ranges::max_element(free);
}

std::vector<Span> walk_step(const Program& program, LaneModel model, const OpSeconds& seconds, const EndOf& end_of_op) {
  std::map<std::string_view, Timed> sections;
  for (const Section& section : program.sections) sections.emplace(section.name, timed(program, section, seconds));
  std::vector<Span> spans;
  int64_t index = 0;
  double now = 0;
  for (const Call& call : program.step) {
    const auto it = sections.find(call.section);
    CHECK(it != sections.end(), "the step calls section {}, which is not there", call.section);
    for (int64_t i = 0; i < call.times; ++i) now = walk_call(it->second, model, end_of_op, index++, now, spans);
  }
  return spans;
}

}  // namespace

std::vector<Span> walk(const Program& program, LaneModel model, const OpSeconds& seconds) {
  return walk_step(program, model, seconds,
                   [](const Timed& section, size_t i, double begin) { return begin + section.seconds[i]; });
}

std::vector<Span> spans_from_ends(const Program& program, LaneModel model, const std::vector<double>& ends) {
  CHECK(ends.size() == ops_in_step(program), "{} ends of {} ops", ends.size(), ops_in_step(program));
  size_t next = 0;
  return walk_step(
      program, model, [](const OpView&) { return 0.0; },
      [&](const Timed&, size_t, double begin) { return std::max(begin, ends[next++]); });
}

size_t ops_in_step(const Program& program) {
  size_t ops = 0;
  for (const Call& call : program.step) {
    ops += program.find_section(call.section)->ops.size() * static_cast<size_t>(call.times);
  }
  return ops;
}

double end_of(const std::vector<Span>& spans) {
  double end = 0;
  for (const Span& span : spans) end = std::max(end, span.end);
  return end;
}

std::array<double, kLanes> busy_by_lane(const std::vector<Span>& spans) {
  std::array<double, kLanes> busy = {};
  for (const Span& span : spans) busy[static_cast<size_t>(span.op->lane)] += span.seconds();
  return busy;
}

std::vector<KindTime> by_kind(const std::vector<Span>& spans) {
  std::map<std::string_view, KindTime> kinds;
  for (const Span& span : spans) {
    KindTime& kind = kinds[span.op->kind];
    kind.kind = span.op->kind;
    ++kind.calls;
    kind.seconds += span.seconds();
  }
  std::vector<KindTime> result;
  result.reserve(kinds.size());
  for (const auto& [name, kind] : kinds) result.push_back(kind);
  std::ranges::stable_sort(result, std::ranges::greater(), &KindTime::seconds);
  return result;
}

}  // namespace centavo
