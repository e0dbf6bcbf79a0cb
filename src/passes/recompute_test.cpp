#include "passes/recompute.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "model/initialize.h"
#include "passes/fuse_replays.h"
#include "passes/fuse_swiglu.h"
#include "program/text.h"
#include "program/verify.h"
#include "tests/support/op_check.h"
#include "tests/support/recompute_setting.h"

namespace centavo::testing {
namespace {

std::vector<std::pair<std::string, RecomputeChoice>> every_choice(const Program& p) {
  std::vector<std::pair<std::string, RecomputeChoice>> choices;
  for (const char* name : {"cheap", "attention", "full"}) choices.emplace_back(name, recompute_choice(name));
  const size_t all = recompute_ladder(p, test_ops()).size();
  for (const size_t n : {size_t{1}, all / 3, 2 * all / 3, all})
    choices.emplace_back(fmt::format("{} steps", n), steps(n));
  return choices;
}

const Section& micro_of(const Program& p) { return *p.find_section("micro"); }

std::vector<Op> replays_of(const Program& p) {
  std::vector<Op> replays;
  std::ranges::copy_if(micro_of(p).ops, std::back_inserter(replays), [](const Op& op) { return op.id != op.logical; });
  return replays;
}

// ---- the text -------------------------------------------------------------------------------------------------------

Setting two_layers(bool tied = true) {
  return {.name = tied ? "tied" : "untied",
          .model = golden_model(tied),
          .batch = {.sequences = 2, .seq_len = 12, .max_docs = 5, .slots = 4}};
}

std::vector<std::string> lines_of(const Program& p, const std::vector<Op>& ops) {
  std::vector<std::string> lines;
  for (const Op& op : ops) {
    std::vector<std::string> out;
    for (const Output& o : op.outputs) out.push_back((o.bind == Bind::add ? "+" : "") + p.buffer(o.buffer).name);
    lines.push_back(fmt::format("{} = {}({})", fmt::join(out, ", "), op.kind, p.buffer(op.inputs[0]).name));
  }
  return lines;
}

TEST(Recompute, NoneAndNoStepsChangeNothing) {
  const Program p = before_recompute(two_layers());
  EXPECT_EQ(recompute(p, test_ops(), {}), p);
  EXPECT_EQ(recompute(p, test_ops(), recompute_choice("none")), p);
  EXPECT_EQ(recompute(p, test_ops(), steps(0)), p);
  const Program forward = training_forward(test_ops(), golden_model(true), {.sequences = 1, .seq_len = 8}, 8);
  EXPECT_EQ(recompute(forward, test_ops(), recompute_choice("full")), forward);  // no backward needs anything
}

TEST(Recompute, CheapReplaysNormsShortAndSwiglu) {
  const Program p = recompute(before_recompute(two_layers()), test_ops(), recompute_choice("cheap"));
  const std::vector<std::string> expected = {
      "layers.1.swiglu = swiglu(layers.1.gate_up)",
      "layers.1.mlp_norm, layers.1.mlp_norm.rstd = rmsnorm(layers.1.mlp_norm.sum)",
      "layers.1.attn_norm, layers.1.attn_norm.rstd = rmsnorm(layers.1.attn_norm.sum)",
      "layers.0.swiglu = swiglu(layers.0.gate_up)",
      "layers.0.mlp_norm, layers.0.mlp_norm.rstd = rmsnorm(layers.0.mlp_norm.sum)",
      "layers.0.attn_norm, layers.0.attn_norm.rstd = rmsnorm(x)"};
  EXPECT_EQ(lines_of(p, replays_of(p)), expected);
}

TEST(Recompute, AttentionFollowsFromItsKeptOperands) {
  const Program p = recompute(before_recompute(two_layers()), test_ops(), recompute_choice("attention"));
  EXPECT_EQ(replays_of(p).size(), 8U);
  EXPECT_THAT(lines_of(p, replays_of(p)),
              ::testing::Contains("layers.1.attention, layers.1.attention.lse = attention(layers.1.rope)"));
}

// Everything of a layer but its first norm's sum, in order, right before the first product that reads it.
TEST(Recompute, FullKeepsTheInputsOfLayers) {
  const Program p = recompute(before_recompute(two_layers()), test_ops(), recompute_choice("full"));
  const std::vector<std::string> layer = {
      "layers.1.attn_norm, layers.1.attn_norm.rstd = rmsnorm(layers.1.attn_norm.sum)",
      "layers.1.qkv = linear(layers.1.attn_norm)",
      "layers.1.rope = rope(layers.1.qkv)",
      "layers.1.attention, layers.1.attention.lse = attention(layers.1.rope)",
      "layers.1.o = linear(layers.1.attention)",
      "layers.1.mlp_norm, layers.1.mlp_norm.rstd, layers.1.mlp_norm.sum = rmsnorm(layers.1.attn_norm.sum)",
      "layers.1.gate_up = linear(layers.1.mlp_norm)",
      "layers.1.swiglu = swiglu(layers.1.gate_up)"};
  std::vector<std::string> lines = lines_of(p, replays_of(p));
  ASSERT_EQ(lines.size(), 16U);
  lines.resize(layer.size());
  EXPECT_EQ(lines, layer);
  const auto& ops = micro_of(p).ops;
  const auto last = std::ranges::find(ops, replays_of(p)[7].id, &Op::id);
  EXPECT_EQ((last + 1)->kind, "linear_dw");
  EXPECT_EQ(p.buffer((last + 1)->inputs[1]).name, "layers.1.swiglu");
  EXPECT_EQ(last->stage, Stage::backward);
  EXPECT_EQ(last->layer, 1);
}

TEST(Recompute, BothProductsOfALoraProjectionAreReplayed) {
  Setting s = two_layers();
  s.lora = LoraSettings{.rank = 4, .alpha = 8};
  const Program p = recompute(before_recompute(s), test_ops(), recompute_choice("full"));
  const std::vector<std::string> lines = lines_of(p, replays_of(p));
  const auto at = std::ranges::find(lines, "layers.1.gate_up = linear(layers.1.mlp_norm)");
  ASSERT_NE(at, lines.end());
  EXPECT_THAT(std::vector<std::string>(at, lines.end()),
              ::testing::IsSupersetOf({"layers.1.gate_up.low = linear(layers.1.mlp_norm)",
                                       "+layers.1.gate_up = linear(layers.1.gate_up.low)"}));
}

TEST(Recompute, ASecondTimeFindsNothingMore) {
  const Program once = recompute(before_recompute(two_layers()), test_ops(), recompute_choice("full"));
  EXPECT_EQ(recompute(once, test_ops(), recompute_choice("full")), once);
}

TEST(Recompute, NeverTouchesOtherLanesOrTheOutside) {
  Program p = before_recompute(two_layers());
  for (Op& op : p.find_section("micro")->ops) op.layer = -1;
  EXPECT_EQ(recompute(p, test_ops(), recompute_choice("full")), p);
  p = before_recompute(two_layers());
  for (Op& op : p.find_section("micro")->ops) {
    if (op.kind == "swiglu") op.lane = Lane::copy;
  }
  EXPECT_THAT(lines_of(p, replays_of(recompute(p, test_ops(), recompute_choice("full")))),
              ::testing::Not(::testing::Contains(::testing::HasSubstr("swiglu("))));
}

TEST(Recompute, NamesOfModes) {
  EXPECT_EQ(recompute_choice("attention").mode, RecomputeChoice::Mode::attention);
  EXPECT_THROW(recompute_choice("atention"), UserError);
}

// ---- verify ---------------------------------------------------------------------------------------------------------

void expect_rejected(Program p, const std::string& message) {
  try {
    verify(placed(std::move(p), 1), test_ops());
    ADD_FAILURE() << "accepted; expected: " << message;
  } catch (const UserError& error) {
    EXPECT_THAT(error.what(), ::testing::HasSubstr(message));
  }
}

Op& first_replay(Program& p, std::string_view kind) {
  auto& ops = p.find_section("micro")->ops;
  return *std::ranges::find_if(ops, [&](const Op& op) { return op.id != op.logical && op.kind == kind; });
}

TEST(Recompute, VerifyRejectsFalseReplays) {
  const Program good = recompute(before_recompute(two_layers()), test_ops(), recompute_choice("cheap"));
  EXPECT_NO_THROW(verify(placed(good, 1), test_ops()));
  const std::string message = "which is neither the same op nor has it as its short form";

  Program p = good;  // the logical id of another op of the same kind
  first_replay(p, "swiglu").logical = first_replay(p, "rmsnorm").logical;
  expect_rejected(p, message);
  p = good;
  const Op& other =
      *std::ranges::find_if(p.find_section("micro")->ops, [](const Op& op) { return op.kind == "rmsnorm"; });
  first_replay(p, "rmsnorm").logical = other.id;
  expect_rejected(p, message);

  p = good;  // of the stream before the addition
  Op& norm = first_replay(p, "rmsnorm");
  const Op original = *std::ranges::find(p.find_section("micro")->ops, norm.logical, &Op::id);
  norm.inputs[0] = original.inputs[0];
  expect_rejected(p, message);

  p = good;  // another epsilon
  first_replay(p, "rmsnorm").attributes["eps"] = 1e-3;
  expect_rejected(p, message);

  p = good;  // without rstd
  first_replay(p, "rmsnorm").outputs[0] = {good.find("layers.1.swiglu"), Bind::write};
  expect_rejected(p, "");
}

// ---- bits -----------------------------------------------------------------------------------------------------------

void fill_tokens(CpuMachine& machine, const BatchShape& batch, int64_t vocabulary) {
  for (int64_t slot = 0; slot < batch.slots; ++slot) {
    std::vector<int32_t> tokens, targets, positions, cu = {0, 5, 12, 17, 24, 24};
    for (int64_t i = 0; i < batch.tokens(); ++i) {
      const auto id = [&](int64_t x) { return static_cast<int32_t>(x % vocabulary); };
      tokens.push_back(id(7 * i + 3 + 13 * slot));
      targets.push_back(i % 9 == 4 ? -1 : id(11 * i + 5 + slot));
      positions.push_back(static_cast<int32_t>(i - *(std::ranges::upper_bound(cu, static_cast<int32_t>(i)) - 1)));
    }
    const auto write = [&](const char* name, const std::vector<int32_t>& values) {
      machine.write(name, std::as_bytes(std::span(values)), slot);
    };
    write("tokens", tokens);
    write("targets", targets);
    write("positions", positions);
    write("cu_seqlens", cu);
  }
}

using Bytes = std::map<std::string, std::vector<std::byte>>;

// Two steps of two micro-batches; then all persistent buffers, the metrics and, where each has its own address, the
// gradients.
Bytes after_two_steps(const Program& p, const Setting& s, bool share_addresses) {
  const auto machine = machine_for(sections(p, test_ops(), 2), {.share_addresses = share_addresses});
  initialize_parameters(*machine, s.model, 7);
  fill_tokens(*machine, s.batch, s.model.vocab_size);
  for (int64_t step = 0; step < 2; ++step) {
    const float lr = 1e-2F;
    machine->write("lr", std::as_bytes(std::span<const float>(&lr, 1)), step);
    machine->step();
  }
  Bytes result;
  for (const Buffer& b : machine->program().buffers) {
    const bool compared = b.persistent || b.name == "metrics" || (b.kind == BufferKind::gradient && !share_addresses);
    if (!compared) continue;
    result[b.name].resize(static_cast<size_t>(b.slot_bytes()));
    machine->read(b.name, result[b.name]);
  }
  return result;
}

void expect_same_bits(const Setting& s) {
  const Program plain = before_recompute(s);
  const Bytes expected = after_two_steps(plain, s, false);
  for (const auto& [name, choice] : every_choice(plain)) {
    const Program p = recompute(plain, test_ops(), choice);
    ASSERT_FALSE(replays_of(p).empty()) << name;
    EXPECT_EQ(parse(print(p)), p) << name;
    const Bytes shared = after_two_steps(p, s, true);
    for (const auto& [buffer, bytes] : after_two_steps(p, s, false)) {
      EXPECT_TRUE(bytes == expected.at(buffer)) << s.name << ", " << s.precision << ", " << name << ": " << buffer;
      if (!shared.contains(buffer)) continue;
      EXPECT_TRUE(shared.at(buffer) == bytes) << s.name << ", " << s.precision << ", " << name << ": " << buffer;
    }
  }
}

// The same with linear and swiglu as one op, and their gradients.
void expect_same_bits_fused(const Setting& s) {
  const Program apart = before_recompute(s);
  const Program fused = fuse_swiglu(apart);
  const Bytes expected = after_two_steps(apart, s, true);
  EXPECT_TRUE(after_two_steps(fused, s, true) == expected) << s.precision;
  for (const auto& [name, choice] : every_choice(fused)) {
    const Program replayed = recompute(fused, test_ops(), choice);
    EXPECT_TRUE(after_two_steps(replayed, s, true) == expected) << s.precision << ", " << name;
    EXPECT_TRUE(after_two_steps(fuse_swiglu_grad(fuse_replays(replayed)), s, true) == expected)
        << s.precision << ", " << name << ", and backward";
  }
}

class RecomputeBits : public ::testing::TestWithParam<std::string> {};

TEST_P(RecomputeBits, EveryChoiceGivesTheSame) {
  std::vector<Setting> settings = {two_layers(true), two_layers(false), two_layers(true), two_layers(false)};
  settings[0].model.num_hidden_layers = 3;
  settings[1].model.attention_bias = settings[1].model.attention_output_bias = true;
  settings[2].name = "lora";
  settings[2].lora = LoraSettings{.rank = 4, .alpha = 8};
  settings[3].name = "window";
  settings[3].model.sliding_window = 3;
  for (Setting& s : settings) {
    s.precision = GetParam();
    expect_same_bits(s);
  }
}

TEST_P(RecomputeBits, AndSoWithSwiGluInItsLinear) {
  Setting s = two_layers(false);
  s.precision = GetParam();
  expect_same_bits_fused(s);
}

INSTANTIATE_TEST_SUITE_P(Precisions, RecomputeBits, ::testing::Values("fp32", "bf16", "bf16-stochastic"),
                         [](const auto& test) {
                           std::string name = test.param;
                           std::ranges::replace(name, '-', '_');
                           return name;
                         });

// A layer that rounds an activation stochastically, as the third program of docs/decisions/0001-program.md does.
const char* const kStochastic = R"(centavo 1
buffer step i64[1] control persistent
buffer seed i64[1] control persistent
buffer targets i32[4] stream_in ring=step/2
buffer loss f32[1] control
buffer count i32[1] control
buffer x f32[4, 4] parameter persistent
buffer up.weight f32[12, 4] parameter persistent trainable
buffer head.weight bf16[16, 6] parameter persistent
buffer proj.weight bf16[6, 6] parameter persistent trainable
buffer proj.weight.grad f32[6, 6] gradient
buffer up.weight.grad f32[12, 4] gradient
buffer partials f32[2] activation
buffer partials.up f32[1] activation view=partials+0
buffer partials.proj f32[1] activation view=partials+1
buffer gate_up f32[4, 12] activation
buffer s f32[4, 6] activation
buffer s16 bf16[4, 6] activation
buffer z bf16[4, 6] activation
buffer d.z bf16[4, 6] activation
buffer d.s16 bf16[4, 6] activation
buffer d.s f32[4, 6] activation
buffer d.gate_up f32[4, 12] activation
section micro
  %1 gate_up = linear(x, up.weight) scale=1.0 | layer=0
  %2 s = swiglu(gate_up) | layer=0
  %3 s16 = cast(s, seed, step) rounding=stochastic | layer=0
  %4 z = linear(s16, proj.weight) scale=1.0 | layer=0
  %5 loss, count, d.z = lm_head_loss_grad(z, head.weight, targets) chunk=4 | backward
  %6 d.s16 = linear_dx(d.z, proj.weight) scale=1.0 | layer=0 backward
  %7 proj.weight.grad = linear_dw(d.z, s16) scale=1.0 | layer=0 backward
  %8 d.s = cast(d.s16) rounding=nearest | layer=0 backward
  %9 d.gate_up = swiglu_grad(d.s, gate_up) | layer=0 backward
  %10 up.weight.grad = linear_dw(d.gate_up, x) scale=1.0 | layer=0 backward
section update
  %11 partials.up = sqnorm(up.weight.grad) block=4096 | update
  %12 partials.proj = sqnorm(proj.weight.grad) block=4096 | update
  %13 step = advance(step) | update
step micro update
)";

std::vector<double> projection_gradient(const Program& p) {
  const auto machine = machine_for(sections(p, test_ops(), 1), {.share_addresses = false});
  for (const char* name : {"x", "up.weight", "head.weight", "proj.weight"}) {
    set_tensor(*machine, name, random_values(name, machine->program().buffer(p.find(name)).elements()));
  }
  set_tensor(*machine, "targets", {1, 5, 14, 2});
  machine->step();
  return get_tensor(*machine, "proj.weight.grad");
}

TEST(Recompute, StochasticOpsKeepTheirLogicalIds) {
  const Program plain = parse(kStochastic);
  const Program p = recompute(plain, test_ops(), recompute_choice("cheap"));
  EXPECT_THAT(print(p),
              ::testing::HasSubstr("  %14 s = swiglu(gate_up) | layer=0 backward of=%2\n"
                                   "  %15 s16 = cast(s, seed, step) rounding=stochastic | layer=0 backward of=%3\n"
                                   "  %7 proj.weight.grad = linear_dw(d.z, s16) scale=1.0 | layer=0 backward\n"));
  EXPECT_EQ(projection_gradient(p), projection_gradient(plain));
  Program other = p;  // a cast of its own draws other numbers
  first_replay(other, "cast").logical = 15;
  EXPECT_NE(projection_gradient(other), projection_gradient(plain));
}

}  // namespace
}  // namespace centavo::testing
