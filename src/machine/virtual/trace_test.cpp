#include "machine/virtual/trace.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "base/errors.h"
#include "base/files.h"
#include "base/json.h"
#include "tests/support/models.h"
#include "tests/support/programs_by_hand.h"

namespace centavo::testing {
namespace {

using nlohmann::json;

// Lengths that are no whole nanoseconds.
std::vector<Span> spans_of(const Program& program) {
  return walk(program, LaneModel::parallel, [](const OpView& view) { return view.op().id / 3e6; });
}

Program two_lanes() {
  return program_by_hand(R"(
section micro
  %1 b = add(a, a) | layer=3 backward
  %2 c = copy(a) | copy
  %4 d = add(c, b) | after=%2
step micro*3
)");
}

json events_of(const Program& program) {
  return parse_json(trace_json(spans_of(program), program, test_ops(), {2, "rank 2"})).at("traceEvents");
}

TEST(Trace, SaysWhatAnOpIs) {
  const json events = events_of(two_lanes());
  ASSERT_EQ(events.size(), 1U + 2 + 9);
  EXPECT_EQ(events[0], parse_json(R"({"ph":"M","name":"process_name","pid":2,"args":{"name":"rank 2"}})"));
  EXPECT_EQ(events[2], parse_json(R"({"ph":"M","name":"thread_name","pid":2,"tid":3,"args":{"name":"copy"}})"));
  EXPECT_EQ(events[3], parse_json(R"({"ph":"X","name":"add","cat":"backward","pid":2,"tid":0,"ts":0.0,"dur":0.333,
      "args":{"op":1,"layer":3,"section":"micro","call":0,"bytes":48,"flops":4.0}})"));
  EXPECT_FALSE(events[4]["args"].contains("layer"));
  EXPECT_EQ(events[11]["args"]["call"], 2);
}

TEST(Trace, SpansOfALaneDoNotOverlap) {
  std::map<int, int64_t> ends;
  for (const json& event : events_of(two_lanes())) {
    if (event["ph"] != "X") continue;
    const int64_t start = std::llround(event["ts"].get<double>() * 1e3);
    EXPECT_GE(start, ends[event["tid"]]);
    ends[event["tid"]] = start + std::llround(event["dur"].get<double>() * 1e3);
  }
  EXPECT_EQ(ends.size(), 2U);
}

TEST(Trace, IsWrittenWholeOrNotAtAll) {
  const Program program = two_lanes();
  const std::string directory = fresh_directory("trace");
  const std::string file = directory + "/step.json";
  write_trace(file, spans_of(program), program, test_ops(), {});
  EXPECT_EQ(read_file(file), trace_json(spans_of(program), program, test_ops(), {}));
  EXPECT_THROW(write_trace(directory + "/none/step.json", {}, program, test_ops(), {}), IoError);
}

}  // namespace
}  // namespace centavo::testing
