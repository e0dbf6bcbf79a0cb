// Programs of one rank of two, weights gathered and gradients reduced layer by layer, scheduled, placed and mutated.

#include "passes/schedule.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "base/files.h"
#include "passes/edges.h"
#include "passes/place.h"
#include "program/text.h"
#include "program/verify.h"
#include "tests/support/models.h"
#include "tests/support/paths.h"

namespace centavo::testing {
namespace {

constexpr int kLayers = 6;

using Windows = std::vector<std::tuple<std::string, std::string, int>>;

// A flat unit of weights with its shard, gradient shard and states; `windows` are the tensors in it.
std::string unit(const std::string& name, int64_t elements, const std::string& dtype, const Windows& windows) {
  std::string text;
  const int64_t half = elements / 2;
  text += fmt::format("buffer {}.shard {}[{}] parameter persistent trainable shard=data:0/2\n", name, dtype, half);
  text += fmt::format("buffer {}.shard.grad f32[{}] gradient shard=data:0/2\n", name, half);
  for (const char* state : {"m", "v"}) {
    text += fmt::format("buffer {}.shard.{} f32[{}] optimizer_state persistent shard=data:0/2\n", name, state, half);
  }
  text += fmt::format("buffer {} {}[{}] activation\n", name, dtype, elements);
  for (const auto& [tensor, shape, offset] : windows) {
    text += fmt::format("buffer {} {}{} activation view={}+{}\n", tensor, dtype, shape, name, offset);
  }
  return text;
}

std::string whole_gradient(const std::string& name, int64_t elements, const Windows& windows) {
  std::string text = fmt::format("buffer {}.grad f32[{}] activation\n", name, elements);
  for (const auto& [tensor, shape, offset] : windows) {
    text += fmt::format("buffer {}.grad f32{} activation view={}.grad+{}\n", tensor, shape, name, offset);
  }
  return text;
}

std::string buffers(const std::string& dtype) {
  std::string text =
      "centavo 1\nranks 2\nbuffer step i64[1] control persistent\nbuffer micro_step i64[1] control persistent\n"
      "buffer tokens i32[4] stream_in ring=micro_step/4\nbuffer targets i32[4] stream_in ring=micro_step/4\n"
      "buffer lr f32[1] stream_in ring=step/2\nbuffer metrics f32[4] stream_out ring=step/2\n"
      "buffer loss f32[1] control\nbuffer count i32[1] control\nbuffer loss.all f32[1] activation\n"
      "buffer count.all i32[1] activation\nbuffer scale f32[1] activation\nbuffer finite i32[1] activation\n";
  text += fmt::format("buffer partials.local f32[{0}] activation\nbuffer partials f32[{1}] activation\n", kLayers + 2,
                      2 * kLayers + 4);
  for (int i = 0; i < kLayers + 2; ++i)
    text += fmt::format("buffer p{0} f32[1] activation view=partials.local+{0}\n", i);
  // Weights first: `place` takes buffers of one size in the order of their declaration.
  std::string gradients;
  const auto add_unit = [&](const std::string& name, int64_t elements, const Windows& windows) {
    text += unit(name, elements, dtype, windows);
    gradients += whole_gradient(name, elements, windows);
  };
  add_unit("embed", 64, {{"embed.weight", "[16, 4]", 0}});
  add_unit("head", 64, {{"head.weight", "[16, 4]", 0}});
  for (int i = 0; i < kLayers; ++i) {
    add_unit(fmt::format("l{}", i), 72,
             {{fmt::format("up{}", i), "[12, 4]", 0}, {fmt::format("down{}", i), "[4, 6]", 48}});
  }
  text += gradients;
  for (int i = 0; i < kLayers; ++i) {
    for (const char* tensor : {"gate_up{} {}[4, 12]", "s{} {}[4, 6]", "d.s{} {}[4, 6]", "d.gate_up{} {}[4, 12]"}) {
      text += "buffer " + fmt::format(fmt::runtime(tensor), i, dtype) + " activation\n";
    }
  }
  for (int i = 0; i <= kLayers; ++i) {
    text += fmt::format("buffer x{0} {1}[4, 4] activation\nbuffer d.x{0} {1}[4, 4] activation\n", i, dtype);
  }
  return text;
}

// One micro-batch, every gather right before its reader. `plus` stands before what later micro-batches add to.
std::string micro(const std::string& name, const std::string& plus) {
  std::string text = "section " + name + "\n";
  int id = 0;
  const auto op = [&](const std::string& line, int layer, const char* stage) {
    text += fmt::format("  %{} {} |{} {}\n", ++id, line, layer < 0 ? "" : fmt::format(" layer={}", layer), stage);
  };
  op("embed = all_gather(embed.shard) ranks=2 stride=1", -1, "");
  op("x0 = embedding(tokens, embed.weight)", -1, "");
  for (int i = 0; i < kLayers; ++i) {
    op(fmt::format("l{0} = all_gather(l{0}.shard) ranks=2 stride=1", i), i, "");
    op(fmt::format("gate_up{0} = linear(x{0}, up{0}) scale=1.0", i), i, "");
    op(fmt::format("s{0} = swiglu(gate_up{0})", i), i, "");
    op(fmt::format("x{1} = linear(s{0}, down{0}) scale=1.0", i, i + 1), i, "");
  }
  op("head = all_gather(head.shard) ranks=2 stride=1", -1, "backward");
  op(fmt::format("{0}loss, {0}count, d.x{1}, head.weight.grad = lm_head_loss_grad(x{1}, head.weight, targets) chunk=4",
                 plus, kLayers),
     -1, "backward");
  op(plus + "head.shard.grad = reduce_scatter(head.grad) ranks=2 stride=1", -1, "backward");
  for (int i = kLayers - 1; i >= 0; --i) {
    op(fmt::format("l{0} = all_gather(l{0}.shard) ranks=2 stride=1", i), i, "backward");
    op(fmt::format("d.s{0} = linear_dx(d.x{1}, down{0}) scale=1.0", i, i + 1), i, "backward");
    op(fmt::format("down{0}.grad = linear_dw(d.x{1}, s{0}) scale=1.0", i, i + 1), i, "backward");
    op(fmt::format("d.gate_up{0} = swiglu_grad(d.s{0}, gate_up{0})", i), i, "backward");
    op(fmt::format("up{0}.grad = linear_dw(d.gate_up{0}, x{0}) scale=1.0", i), i, "backward");
    op(fmt::format("d.x{0} = linear_dx(d.gate_up{0}, up{0}) scale=1.0", i), i, "backward");
    op(fmt::format("{1}l{0}.shard.grad = reduce_scatter(l{0}.grad) ranks=2 stride=1", i, plus), i, "backward");
  }
  op("embed.weight.grad = embedding_grad(tokens, d.x0) vocab_size=16", -1, "backward");
  op(plus + "embed.shard.grad = reduce_scatter(embed.grad) ranks=2 stride=1", -1, "backward");
  op("micro_step = advance(micro_step)", -1, "update");
  return text;
}

std::string update() {
  std::vector<std::string> units = {"embed", "head"};
  for (int i = 0; i < kLayers; ++i) units.push_back(fmt::format("l{}", i));
  std::string text = "section update\n";
  int id = 1000;
  const auto op = [&](const std::string& line) { text += fmt::format("  %{} {} | update\n", ++id, line); };
  for (size_t i = 0; i < units.size(); ++i) op(fmt::format("p{} = sqnorm({}.shard.grad) block=4096", i, units[i]));
  op("partials = all_gather(partials.local) ranks=2 stride=1");
  op("loss.all = all_reduce(loss) ranks=2 stride=1");
  op("count.all = all_reduce(count) ranks=2 stride=1");
  op("scale, finite, metrics = clip(partials, loss.all, count.all) max_norm=1.0");
  for (const std::string& name : units) {
    op(
        fmt::format("{0}, {0}.m, {0}.v = adamw({0}, {0}.grad, {0}.m, {0}.v, _, scale, finite, lr, step) beta1=0.9 "
                    "beta2=0.95 eps=1e-08 rounding=nearest weight_decay=0.1",
                    name + ".shard"));
  }
  op("step = advance(step)");
  return text;
}

Program zero3(const std::string& dtype = "f32") {
  return parse(buffers(dtype) + micro("first", "") + micro("last", "+") + update() + "step first last update\n");
}

// Without workspaces, whose sizes are a machine's, the units are the largest buffers.
Program planned(const Program& program, int64_t prefetch) {
  const Program scheduled = schedule(program, test_ops(), {.prefetch = prefetch});
  verify(scheduled, test_ops());
  const Program placed = derive_edges(place(scheduled), test_ops());
  verify(placed, test_ops());
  return placed;
}

std::set<int64_t> addresses(const Program& program, const char* format) {
  std::set<int64_t> result;
  for (int i = 0; i < kLayers; ++i) {
    result.insert(program.buffer(program.find(fmt::format(fmt::runtime(format), i))).offset_bytes.value());
  }
  return result;
}

int count_edges(const Program& program) {
  size_t edges = 0;
  for (const Section& section : program.sections) {
    for (const Op& op : section.ops) edges += op.after.size();
  }
  return static_cast<int>(edges);
}

int position(const Section& section, const std::string& begins) {
  for (size_t i = 0; i < section.ops.size(); ++i) {
    const std::string text = print(zero3(), section, section.ops[i]);
    if (text.find(" " + begins) != std::string::npos) return static_cast<int>(i);
  }
  ADD_FAILURE() << "no op " << begins;
  return -1;
}

TEST(Schedule, TheTextItselfIsAProgram) { EXPECT_NO_THROW(verify(zero3(), test_ops())); }

TEST(Schedule, GathersStandBeforeTheReaderOfTheGroupBefore) {
  const auto stands_before = [](int64_t prefetch, const std::string& gather, const std::string& reader) {
    const Program program = schedule(zero3(), test_ops(), {.prefetch = prefetch});
    const Section& first = *program.find_section("first");
    EXPECT_EQ(position(first, gather) + 1, position(first, reader)) << prefetch;
    EXPECT_EQ(first.ops[static_cast<size_t>(position(first, gather))].lane, Lane::gather);
  };
  stands_before(0, "l3 = all_gather", "gate_up3 =");
  stands_before(1, "l3 = all_gather", "gate_up2 =");
  stands_before(2, "l3 = all_gather", "gate_up1 =");
  stands_before(1, "head = all_gather", "gate_up5 =");
}

TEST(Schedule, GatheredLayersTakeTurnsAtPrefetchPlusOneAddresses) {
  for (const int64_t prefetch : {0, 1, 2, 3}) {
    EXPECT_EQ(static_cast<int64_t>(addresses(planned(zero3(), prefetch), "l{}").size()), prefetch + 1);
  }
}

// Gradients of f32 beside weights of bf16 are the largest buffers, placed before all others. Without prefetch the one
// order of collectives makes each gather, and so its layer, wait for the reduction before it.
TEST(Schedule, GradientsTakeTurnsAtTwoAddresses) {
  for (const int64_t prefetch : {1, 2, 3}) {
    EXPECT_EQ(addresses(planned(zero3("bf16"), prefetch), "l{}.grad").size(), 2U) << prefetch;
  }
  EXPECT_EQ(addresses(planned(zero3("bf16"), 0), "l{}.grad").size(), 1U);
}

TEST(Schedule, CollectivesAndCopiesGetTheirLanes) {
  const Program program = schedule(zero3(), test_ops());
  for (const Section& section : program.sections) {
    for (const Op& op : section.ops) {
      const Lane lane = op.kind == "all_gather"                                  ? Lane::gather
                        : op.kind == "reduce_scatter" || op.kind == "all_reduce" ? Lane::reduce
                                                                                 : Lane::compute;
      EXPECT_EQ(op.lane, lane) << op.kind;
    }
  }
}

TEST(Schedule, KeepsEveryOpAndChangesNoOperand) {
  const Program before = zero3();
  const Program after = schedule(before, test_ops(), {.prefetch = 2});
  for (size_t s = 0; s < before.sections.size(); ++s) {
    ASSERT_EQ(after.sections[s].ops.size(), before.sections[s].ops.size());
    for (const Op& op : before.sections[s].ops) {
      Op moved = *std::ranges::find(after.sections[s].ops, op.id, &Op::id);
      moved.lane = op.lane;
      moved.after = op.after;
      EXPECT_EQ(moved, op);
    }
  }
}

TEST(Edges, EachIsNeeded) {
  for (const int64_t prefetch : {0, 1, 2}) {
    EXPECT_GT(expect_each_edge_needed(planned(zero3(), prefetch)), 0);
    EXPECT_GT(expect_each_edge_needed(planned(zero3("bf16"), prefetch)), 0);
  }
}

// The waits that bound memory are kept where an address is shared and dropped where none is.
TEST(Edges, WithoutSharedAddressesOnlyDataNeedThem) {
  const Program scheduled = schedule(zero3(), test_ops());
  const Program apart =
      derive_edges(place(scheduled, {.red_zone_bytes = 0, .borrow = {}, .share_addresses = false}), test_ops());
  const Program shared = derive_edges(place(scheduled), test_ops());
  const Program data = derive_edges(scheduled, test_ops());
  EXPECT_EQ(count_edges(apart), count_edges(data));
  EXPECT_LT(count_edges(data), count_edges(shared));
  EXPECT_EQ(apart.sections, data.sections);
  EXPECT_GT(expect_each_edge_needed(data), 0);
}

// The edges of the programs written by hand are the smallest set.
TEST(Edges, AreThoseWrittenByHand) {
  const std::string page = read_file(source_path("docs/decisions/0001-program.md"));
  const std::string open = "```program\n";
  int edges = 0;
  for (size_t at = page.find(open); at != std::string::npos; at = page.find(open, at)) {
    at += open.size();
    const Program program = parse(page.substr(at, page.find("```", at) - at));
    EXPECT_EQ(print(derive_edges(program, test_ops())), print(program));
    edges += count_edges(program);
  }
  EXPECT_EQ(edges, 11);
}

// An edge that goes through a third lane needs no edge of its own.
TEST(Edges, ImpliedOnesAreLeftOut) {
  const std::string text =
      "centavo 1\nbuffer a f32[8] parameter persistent\nbuffer x f32[8] activation\nbuffer h f32[8] activation host\n"
      "buffer y f32[8] activation\nbuffer z f32[8] activation\nsection s\n"
      "%1 x = add(a, a)\n%2 h = copy(x) | copy\n%3 y = copy(h) | gather\n%4 z = add(x, y)\n%5 x = add(a, z)\nstep s\n";
  const Program program = derive_edges(parse(text), test_ops());
  verify(program, test_ops());
  const std::vector<Op>& ops = program.sections[0].ops;
  EXPECT_EQ(ops[1].after, std::vector<int32_t>{1});
  EXPECT_EQ(ops[2].after, std::vector<int32_t>{2});
  EXPECT_EQ(ops[3].after, std::vector<int32_t>{3});
  EXPECT_TRUE(ops[4].after.empty());  // %2 reads x, and has ended before %4
}

}  // namespace
}  // namespace centavo::testing
