#include "machine/virtual/trace.h"

#include <array>
#include <cmath>

#include "base/files.h"
#include "base/json.h"

namespace centavo {
namespace {

using nlohmann::ordered_json;

int64_t nanoseconds(double seconds) { return std::llround(seconds * 1e9); }
double microseconds(int64_t nanoseconds) { return static_cast<double>(nanoseconds) / 1e3; }

ordered_json named(const char* what, const TraceLabel& label, const std::string& name) {
  return {{"ph", "M"}, {"name", what}, {"pid", label.rank}, {"args", {{"name", name}}}};
}

ordered_json arguments(const Span& span, const Cost& cost) {
  ordered_json args = {{"op", span.op->id}};
  if (span.op->layer >= 0) args["layer"] = span.op->layer;
  args["section"] = span.section->name;
  args["call"] = span.call;
  args["bytes"] = static_cast<int64_t>(cost.bytes);
  args["flops"] = cost.flops;
  return args;
}

Cost cost_of(const OpTable& ops, const Program& program, const Op& op) {
  const OpDef* def = ops.find(op.kind);
  return def == nullptr || def->cost == nullptr ? Cost{} : def->cost(OpView(program, op));
}

ordered_json event(const Span& span, const Cost& cost, int64_t rank) {
  const int64_t start = nanoseconds(span.start);
  return {{"ph", "X"},
          {"name", span.op->kind},
          {"cat", name_of(span.op->stage)},
          {"pid", rank},
          {"tid", static_cast<int>(span.op->lane)},
          {"ts", microseconds(start)},
          {"dur", microseconds(nanoseconds(span.end) - start)},
          {"args", arguments(span, cost)}};
}

}  // namespace

std::string trace_json(const std::vector<Span>& spans, const Program& program, const OpTable& ops,
                       const TraceLabel& label) {
  ordered_json events = ordered_json::array({named("process_name", label, label.name)});
  std::array<bool, kLanes> used = {};
  for (const Span& span : spans) used[static_cast<size_t>(span.op->lane)] = true;
  for (int lane = 0; lane < kLanes; ++lane) {
    if (!used[static_cast<size_t>(lane)]) continue;
    ordered_json thread = named("thread_name", label, std::string(name_of(static_cast<Lane>(lane))));
    thread["tid"] = lane;
    events.push_back(std::move(thread));
  }
  for (const Span& span : spans) events.push_back(event(span, cost_of(ops, program, *span.op), label.rank));
  const ordered_json trace = {{"displayTimeUnit", "ms"}, {"traceEvents", std::move(events)}};
  return json_text(trace) + "\n";
}

void write_trace(const std::string& file, const std::vector<Span>& spans, const Program& program, const OpTable& ops,
                 const TraceLabel& label) {
  write_file_atomic(file, trace_json(spans, program, ops, label));
}

}  // namespace centavo
