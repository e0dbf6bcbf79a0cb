#include "passes/fuse_replays.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "program/text.h"
#include "program/verify.h"
#include "tests/support/op_check.h"
#include "tests/support/recompute_setting.h"

namespace centavo::testing {
namespace {

using ::testing::HasSubstr;

// A feed-forward layer after recompute.
const std::string kLayer = R"(centavo 1
buffer step i64[1] control persistent
buffer targets i32[4] stream_in ring=step/2
buffer loss f32[1] control
buffer count i32[1] control
buffer x f32[4, 4] parameter persistent
buffer up.weight f32[12, 4] parameter persistent trainable
buffer down.weight f32[6, 6] parameter persistent trainable
buffer head.weight f32[16, 6] parameter persistent
buffer up.weight.grad f32[12, 4] gradient
buffer down.weight.grad f32[6, 6] gradient
buffer sum f32[1] activation
buffer norms f32[2] activation
buffer norms.up f32[1] activation view=norms+0
buffer norms.down f32[1] activation view=norms+1
buffer gate_up f32[4, 12] activation
buffer s f32[4, 6] activation
buffer y f32[4, 6] activation
buffer other f32[4, 6] activation
buffer d.y f32[4, 6] activation
buffer d.s f32[4, 6] activation
buffer d.gate_up f32[4, 12] activation
section micro
  %1 gate_up = linear(x, up.weight) scale=1.0 | layer=0
  %2 s = swiglu(gate_up) | layer=0
  %3 y = linear(s, down.weight) scale=1.0 | layer=0
  %4 loss, count, d.y = lm_head_loss_grad(y, head.weight, targets) chunk=4 | backward
  %5 d.s = linear_dx(d.y, down.weight) scale=1.0 | layer=0 backward
  %10 s = swiglu(gate_up) | layer=0 backward of=%2
  %6 down.weight.grad = linear_dw(d.y, s) scale=1.0 | layer=0 backward
  %7 d.gate_up = swiglu_grad(d.s, gate_up) | layer=0 backward
  %8 up.weight.grad = linear_dw(d.gate_up, x) scale=1.0 | layer=0 backward
section update
  %20 norms.up = sqnorm(up.weight.grad) block=4096 | update
  %21 norms.down = sqnorm(down.weight.grad) block=4096 | update
  %9 step = advance(step) | update
step micro update
)";

const std::string kReader = "  %6 down.weight.grad = linear_dw(d.y, s) scale=1.0 | layer=0 backward\n";
const std::string kGrad = "  %7 d.gate_up = swiglu_grad(d.s, gate_up) | layer=0 backward\n";
const std::string kReplay = "  %10 s = swiglu(gate_up) | layer=0 backward of=%2\n";
const std::string kLast = "  %8 up.weight.grad = linear_dw(d.gate_up, x) scale=1.0 | layer=0 backward\n";
const std::string kFused = "  %7 d.gate_up, s = swiglu_grad(d.s, gate_up) | layer=0 backward\n";

// kLayer with other text in the place of a line.
Program layer_with(const std::string& line, const std::string& instead) {
  std::string text = kLayer;
  const size_t at = text.find(line);
  EXPECT_NE(at, std::string::npos);
  return parse(text.replace(at, line.size(), instead));
}

TEST(FuseReplays, TheGradientWritesSAndItsReaderFollows) {
  const Program p = fuse_replays(parse(kLayer));
  std::string expected = kLayer;
  const std::string before = kReplay + kReader + kGrad;
  expected.replace(expected.find(before), before.size(), kFused + kReader);
  const std::string ds = "buffer d.s f32[4, 6] activation";
  expected.replace(expected.find(ds), ds.size(), ds + " view=s+0");
  EXPECT_EQ(print(p), expected);
  EXPECT_EQ(fuse_replays(p), p) << "there is nothing more";
}

TEST(FuseReplays, ReadersKeepTheirOrderAndOthersTheirPlace) {
  const std::string again = "  %11 +down.weight.grad = linear_dw(d.y, s) scale=1.0 | layer=0 backward\n";
  const std::string apart = "  %12 other = swiglu(gate_up) | layer=0 backward\n";
  const Program p = fuse_replays(layer_with(kReader, kReader + apart + again));
  EXPECT_THAT(print(p), HasSubstr(apart + kFused + kReader + again + kLast));
}

void expect_as_it_was(const Program& p) {
  verify(placed(p, 1), test_ops());
  EXPECT_EQ(print(fuse_replays(p)), print(p));
}

TEST(FuseReplays, NotWhereTheReadersResultIsNeededBefore) {
  expect_as_it_was(layer_with(kGrad, "  %11 sum = sqnorm(down.weight.grad) block=4096 | layer=0 backward\n" + kGrad));
  expect_as_it_was(layer_with(kReader,
                              "  %11 other = copy(s) | layer=0 backward\n"
                              "  %6 down.weight.grad = linear_dw(d.y, other) scale=1.0 | layer=0 backward\n"));
}

TEST(FuseReplays, NotWhereTheReadersOperandsChangeBefore) {
  expect_as_it_was(layer_with(kGrad, "  %11 d.y = swiglu(gate_up) | layer=0 backward\n" + kGrad));
  expect_as_it_was(layer_with(kGrad, "  %11 gate_up = linear(x, up.weight) scale=1.0 | layer=0 backward\n" + kGrad));
}

TEST(FuseReplays, NotAcrossLayersStagesOrLanes) {
  for (const char* where : {"layer=1 backward", "layer=0", "layer=0 update"}) {
    expect_as_it_was(
        layer_with(kReader, fmt::format("  %6 down.weight.grad = linear_dw(d.y, s) scale=1.0 | {}\n", where)));
  }
  expect_as_it_was(layer_with(kGrad, "  %7 d.gate_up = swiglu_grad(d.s, gate_up) | layer=1 backward\n"));
  Program p = parse(kLayer);
  std::ranges::find(p.find_section("micro")->ops, 6, &Op::id)->lane = Lane::copy;
  EXPECT_EQ(fuse_replays(p), p);
}

TEST(FuseReplays, NotWhereSAndDsAreNeededBoth) {
  expect_as_it_was(layer_with(kLast, kLast + "  %11 sum = sqnorm(d.s) block=4096 | backward\n"));
  expect_as_it_was(layer_with(kReplay, "  %11 sum = sqnorm(s) block=4096 | backward\n" + kReplay));
}

TEST(FuseReplays, OnlyReplays) {
  Program p = parse(kLayer);
  Op& replay = *std::ranges::find(p.find_section("micro")->ops, 10, &Op::id);
  replay.logical = replay.id;
  EXPECT_EQ(fuse_replays(p), p);
}

// The gradients, at addresses of their own and at shared ones.
TEST(FuseReplays, SameBits) {
  const auto gradients = [](const Program& p, bool share_addresses) {
    const auto machine = machine_for(sections(p, test_ops(), 1), {.share_addresses = share_addresses});
    for (const char* name : {"x", "up.weight", "down.weight", "head.weight"}) {
      set_tensor(*machine, name, random_values(name, machine->program().buffer(p.find(name)).elements()));
    }
    set_tensor(*machine, "targets", {1, 5, 14, 2});
    machine->step();
    return std::pair(get_tensor(*machine, "down.weight.grad"), get_tensor(*machine, "up.weight.grad"));
  };
  for (const bool share_addresses : {false, true}) {
    EXPECT_EQ(gradients(fuse_replays(parse(kLayer)), share_addresses), gradients(parse(kLayer), share_addresses));
  }
}

// ---- norms ----------------------------------------------------------------------------------------------------------

// The norm before a product, and its backward, after recompute.
const std::string kNormLayer = R"(centavo 1
buffer step i64[1] control persistent
buffer targets i32[4] stream_in ring=step/2
buffer loss f32[1] control
buffer count i32[1] control
buffer x f32[4, 6] parameter persistent
buffer norm.weight f32[6] parameter persistent trainable
buffer up.weight f32[6, 6] parameter persistent trainable
buffer head.weight f32[16, 6] parameter persistent
buffer norm.weight.grad f32[6] gradient
buffer up.weight.grad f32[6, 6] gradient
buffer norms f32[2] activation
buffer norms.up f32[1] activation view=norms+0
buffer norms.norm f32[1] activation view=norms+1
buffer rstd f32[4] activation
buffer h f32[4, 6] activation
buffer y f32[4, 6] activation
buffer d.y f32[4, 6] activation
buffer d.h f32[4, 6] activation
buffer d.x f32[4, 6] activation
section micro
  %1 h, rstd = rmsnorm(x, _, norm.weight) eps=1e-5 | layer=0
  %2 y = linear(h, up.weight) scale=1.0 | layer=0
  %3 loss, count, d.y = lm_head_loss_grad(y, head.weight, targets) chunk=4 | backward
  %4 d.h = linear_dx(d.y, up.weight) scale=1.0 | layer=0 backward
  %10 h, rstd = rmsnorm(x, _, norm.weight) eps=1e-5 | layer=0 backward of=%1
  %5 up.weight.grad = linear_dw(d.y, h) scale=1.0 | layer=0 backward
  %6 d.x, norm.weight.grad = rmsnorm_grad(d.h, _, x, norm.weight, rstd) | layer=0 backward
section update
  %20 norms.up = sqnorm(up.weight.grad) block=4096 | update
  %21 norms.norm = sqnorm(norm.weight.grad) block=4096 | update
  %9 step = advance(step) | update
step micro update
)";

TEST(FuseReplays, TheGradientOfANormWritesHAndTheStatisticsStay) {
  verify(placed(parse(kNormLayer), 1), test_ops());
  const Program p = fuse_replays(parse(kNormLayer));
  EXPECT_THAT(print(p), HasSubstr("  %4 d.h = linear_dx(d.y, up.weight) scale=1.0 | layer=0 backward\n"
                                  "  %6 d.x, norm.weight.grad, h = rmsnorm_grad(d.h, _, x, norm.weight, rstd) | "
                                  "layer=0 backward\n"
                                  "  %5 up.weight.grad = linear_dw(d.y, h) scale=1.0 | layer=0 backward\n"
                                  "section update\n"));
  EXPECT_EQ(p.buffer(p.find("d.h")).view, (View{p.find("h"), 0}));
  verify(placed(p, 1), test_ops());
  EXPECT_EQ(fuse_replays(p), p) << "there is nothing more";
}

// Of another value, only the replay knows the statistics.
TEST(FuseReplays, NotWhereTheStatisticsWereWrittenSince) {
  Program p = parse(kNormLayer);
  std::vector<Op>& ops = p.find_section("micro")->ops;
  Op other = ops[0];
  other.id = other.logical = 11;
  other.stage = Stage::backward;
  ops.insert(ops.begin() + 3, other);
  EXPECT_EQ(print(fuse_replays(p)), print(p));
}

TEST(FuseReplays, SameBitsOfANorm) {
  const auto gradients = [](const Program& p, bool share_addresses) {
    const auto machine = machine_for(sections(p, test_ops(), 1), {.share_addresses = share_addresses});
    for (const char* name : {"x", "norm.weight", "up.weight", "head.weight"}) {
      set_tensor(*machine, name, random_values(name, machine->program().buffer(p.find(name)).elements()));
    }
    set_tensor(*machine, "targets", {1, 5, 14, 2});
    machine->step();
    return std::pair(get_tensor(*machine, "norm.weight.grad"), get_tensor(*machine, "up.weight.grad"));
  };
  for (const bool share_addresses : {false, true}) {
    EXPECT_EQ(gradients(fuse_replays(parse(kNormLayer)), share_addresses),
              gradients(parse(kNormLayer), share_addresses));
  }
}

// ---- models ---------------------------------------------------------------------------------------------------------

int64_t replays_of(const Program& p, std::string_view kind) {
  return std::ranges::count_if(p.find_section("micro")->ops,
                               [&](const Op& op) { return op.id != op.logical && op.kind == kind; });
}

TEST(FuseReplays, NothingWithoutRecompute) {
  const Program p = before_recompute(four_layers());
  EXPECT_EQ(fuse_replays(p), p);
}

TEST(FuseReplays, EveryLayerAndNoByteMore) {
  for (const char* mode : {"cheap", "attention", "full"}) {
    SCOPED_TRACE(mode);
    const Program p = recompute(before_recompute(four_layers()), test_ops(), recompute_choice(mode));
    const Program fused = fuse_replays(p);
    EXPECT_EQ(replays_of(p, "swiglu"), 4);
    EXPECT_EQ(replays_of(fused, "swiglu"), 0);
    EXPECT_EQ(replays_of(p, "rmsnorm"), 8);
    // With everything replayed, the products read h before the gradients of the norms stand.
    EXPECT_EQ(replays_of(fused, "rmsnorm"), mode == std::string("full") ? 8 : 0);
    EXPECT_EQ(parse(print(fused)), fused);
    const int64_t statistics = 8 * align_up(2 * 32 * size_of(DType::f32));  // rstd of each norm
    for (const int64_t micro_batches : {1, 3}) {
      const Program planned = placed(fused, micro_batches);
      verify(planned, test_ops());
      EXPECT_LE(planned.arena_bytes.at(Home::device),
                placed(p, micro_batches).arena_bytes.at(Home::device) + statistics);
    }
  }
}

TEST(FuseReplays, LayerNormsToo) {
  Setting s = four_layers();
  s.model = golden_gpt2_model(true);
  const Program cheap = recompute(before_recompute(s), test_ops(), recompute_choice("cheap"));
  EXPECT_EQ(replays_of(cheap, "layernorm"), 4);
  const Program fused = fuse_replays(cheap);
  EXPECT_EQ(replays_of(fused, "layernorm"), 0);
  verify(placed(fused, 2), test_ops());
}

// `low`, a product of s, is replayed and read while s is read: the gradients of both factors need it first.
TEST(FuseReplays, LoraToo) {
  Setting s = four_layers();
  s.lora = LoraSettings{.rank = 4, .alpha = 8};
  const Program cheap = recompute(before_recompute(s), test_ops(), recompute_choice("cheap"));
  EXPECT_EQ(replays_of(fuse_replays(cheap), "swiglu"), 0);
  const Program full = recompute(before_recompute(s), test_ops(), recompute_choice("full"));
  EXPECT_EQ(replays_of(full, "swiglu"), 4);
  EXPECT_EQ(fuse_replays(full), full);
}

}  // namespace
}  // namespace centavo::testing
