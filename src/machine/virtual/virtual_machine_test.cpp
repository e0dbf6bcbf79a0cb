#include "machine/virtual/virtual_machine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>

#include "tests/support/programs_by_hand.h"

namespace centavo::testing {
namespace {

using ::testing::DoubleEq;
using ::testing::ElementsAre;

// Op %n takes n seconds.
double seconds_by_id(const OpView& view) { return view.op().id; }

std::vector<std::pair<double, double>> times_of(const std::vector<Span>& spans) {
  std::vector<std::pair<double, double>> times;
  for (const Span& span : spans) times.emplace_back(span.start, span.end);
  return times;
}

using Times = std::vector<std::pair<double, double>>;

// %3 gathers from the beginning; %4 of the compute lane waits for it, %5 of the gather lane for %4.
constexpr const char* kTwoLanes = R"(
section only
  %1 b = copy(a)
  %3 c = copy(a) | gather
  %4 d = copy(c) | after=%3
  %5 e = copy(d) | gather after=%4
step only
)";

TEST(VirtualMachine, AnOpWaitsForItsLaneAndItsEdges) {
  const Program program = program_by_hand(kTwoLanes);
  const std::vector<Span> spans = walk(program, LaneModel::parallel, seconds_by_id);
  EXPECT_EQ(times_of(spans), (Times{{0, 1}, {0, 3}, {3, 7}, {7, 12}}));
  EXPECT_EQ(end_of(spans), 12);
  EXPECT_THAT(busy_by_lane(spans), ElementsAre(5, 8, 0, 0));
}

TEST(VirtualMachine, OneLaneAddsUp) {
  const Program program = program_by_hand(kTwoLanes);
  const std::vector<Span> spans = walk(program, LaneModel::one_lane, seconds_by_id);
  EXPECT_EQ(times_of(spans), (Times{{0, 1}, {1, 4}, {4, 8}, {8, 13}}));
  EXPECT_THAT(busy_by_lane(spans), ElementsAre(5, 8, 0, 0));
}

// A call begins when the one before has ended on every lane.
TEST(VirtualMachine, CallsAreBarriers) {
  const Program program = program_by_hand(R"(
section micro
  %1 b = copy(a)
  %3 c = copy(a) | copy
section update
  %2 d = copy(b)
step micro*2 update
)");
  const std::vector<Span> spans = walk(program, LaneModel::parallel, seconds_by_id);
  EXPECT_EQ(times_of(spans), (Times{{0, 1}, {0, 3}, {3, 4}, {3, 6}, {6, 8}}));
  EXPECT_EQ(spans[3].call, 1);
  EXPECT_EQ(spans[4].section->name, "update");
  const std::vector<KindTime> kinds = by_kind(spans);
  ASSERT_EQ(kinds.size(), 1U);
  EXPECT_EQ(kinds[0].kind, "copy");
  EXPECT_EQ(kinds[0].calls, 5);
  EXPECT_EQ(kinds[0].seconds, 10);
}

TEST(VirtualMachine, KindsComeLongestFirst) {
  const Program program = program_by_hand(R"(
section only
  %1 b = copy(a)
  %4 c = add(a, b)
  %2 d = copy(b)
step only
)");
  std::vector<std::string> names;
  for (const KindTime& kind : by_kind(walk(program, LaneModel::one_lane, seconds_by_id))) names.push_back(kind.kind);
  EXPECT_THAT(names, ElementsAre("add", "copy"));
}

TEST(VirtualMachine, AsksACostOncePerOpOfASection) {
  const Program program = program_by_hand("section micro\n  %1 b = copy(a)\nstep micro*7\n");
  int asked = 0;
  EXPECT_THAT(end_of(walk(program, LaneModel::parallel,
                          [&](const OpView&) {
                            ++asked;
                            return 0.5;
                          })),
              DoubleEq(3.5));
  EXPECT_EQ(asked, 1);
}

TEST(VirtualMachineDeathTest, AnEdgeMustPointBack) {
  const Program program = program_by_hand("section only\n  %1 b = copy(a) | after=%9\nstep only\n");
  EXPECT_DEATH(walk(program, LaneModel::parallel, seconds_by_id), "waits for %9");
}

// %4 ended at 7: it waited for %3, which ended at 3. A call begins when the one before has ended.
TEST(VirtualMachine, SpansOfAStepThatWasRun) {
  const Program program = program_by_hand(kTwoLanes);
  EXPECT_EQ(times_of(spans_from_ends(program, LaneModel::parallel, {1, 3, 7, 12})),
            (Times{{0, 1}, {0, 3}, {3, 7}, {7, 12}}));
  EXPECT_EQ(times_of(spans_from_ends(program, LaneModel::one_lane, {1, 4, 8, 13})),
            (Times{{0, 1}, {1, 4}, {4, 8}, {8, 13}}));
  const Program twice = program_by_hand("section micro\n  %1 b = copy(a)\nstep micro*2\n");
  const std::vector<Span> spans = spans_from_ends(twice, LaneModel::parallel, {2, 5});
  EXPECT_EQ(times_of(spans), (Times{{0, 2}, {2, 5}}));
  EXPECT_EQ(spans[1].call, 1);
}

// Twelve layers in eight micro-batches.
TEST(VirtualMachine, ALargeStepTakesNoTime) {
  std::string text = "section micro\n  %1 b = copy(a)\n";
  constexpr int kOps = 12 * 50;
  for (int i = 2; i <= kOps; ++i) {
    text += fmt::format("  %{} b = copy(a) | {} after=%{}\n", i, i % 2 == 0 ? "gather" : "copy", i - 1);
  }
  const Program program = program_by_hand(text + "step micro*8\n");
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(walk(program, LaneModel::parallel, seconds_by_id).size(), 8U * kOps);
  EXPECT_LT(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count(), 0.05);
}

}  // namespace
}  // namespace centavo::testing
