#include "passes/recompute.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <set>

#include "model/initialize.h"
#include "passes/differentiate.h"
#include "passes/optimize.h"
#include "passes/place.h"
#include "passes/precision.h"
#include "passes/sections.h"
#include "program/lifetime.h"
#include "program/text.h"
#include "program/verify.h"
#include "tests/support/models.h"
#include "tests/support/op_check.h"

namespace centavo::testing {
namespace {

using Mode = RecomputeChoice::Mode;

struct Setting {
  std::string name;
  ModelConfig model;
  BatchShape batch;
  std::string precision = "fp32";
  std::optional<LoraSettings> lora = std::nullopt;
  int64_t loss_chunk = 32;
};

// The micro-batch and the update as recompute finds them.
Program before_recompute(const Setting& s) {
  Program p = training_forward(test_ops(), s.model, s.batch, s.loss_chunk, {.caches = {}, .lora = s.lora});
  p = optimize(differentiate(std::move(p), test_ops()), test_ops(), {});
  return precision(std::move(p), test_ops(), precision_policy(s.precision));
}

Program placed(Program p, int64_t micro_batches, bool share_addresses = true) {
  p = add_cpu_workspaces(sections(std::move(p), test_ops(), micro_batches), test_ops(), {2});
  return place(std::move(p), {.red_zone_bytes = 0, .borrow = {}, .share_addresses = share_addresses});
}

RecomputeChoice steps(size_t n) { return {.mode = Mode::steps, .steps = n, .rates = {}}; }

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
  EXPECT_EQ(recompute_choice("attention").mode, Mode::attention);
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
    const std::byte* begin = machine->memory(b.name);
    result[b.name] = {begin, begin + b.slot_bytes()};
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

class RecomputeBits : public ::testing::TestWithParam<std::string> {};

TEST_P(RecomputeBits, EveryChoiceGivesTheSame) {
  std::vector<Setting> settings = {two_layers(true), two_layers(false), two_layers(true), two_layers(false)};
  settings[0].model.num_hidden_layers = 3;
  settings[1].model.attention_bias = true;
  settings[2].name = "lora";
  settings[2].lora = LoraSettings{.rank = 4, .alpha = 8};
  settings[3].name = "window";
  settings[3].model.sliding_window = 3;
  for (Setting& s : settings) {
    s.precision = GetParam();
    expect_same_bits(s);
  }
}

INSTANTIATE_TEST_SUITE_P(Precisions, RecomputeBits, ::testing::Values("fp32", "bf16", "bf16-stochastic"),
                         [](const auto& test) {
                           std::string name = test.param;
                           std::ranges::replace(name, '-', '_');
                           return name;
                         });

// ---- memory ---------------------------------------------------------------------------------------------------------

Setting llama(int64_t layers, int64_t hidden = 64, int64_t seq_len = 64) {
  Setting s{.name = "llama", .model = {}, .batch = {.sequences = 2, .seq_len = seq_len, .slots = 4}};
  s.model.vocab_size = 256;
  s.model.hidden_size = hidden;
  s.model.intermediate_size = hidden * 43 / 16;
  s.model.num_hidden_layers = layers;
  s.model.num_attention_heads = s.model.num_key_value_heads = 4;
  s.model.head_dim = hidden / 4;
  s.model.tie_word_embeddings = true;
  return s;
}

// Of a step of two micro-batches: in the second every gradient is alive from beginning to end, as persistent buffers
// and streams are; what the arena holds besides are activations and scratch.
int64_t activation_bytes(const Program& p) {
  int64_t bytes = p.arena_bytes.at(Home::device);
  for (const Buffer& b : p.buffers) {
    const bool throughout = always_alive(b) || b.kind == BufferKind::gradient;
    if (throughout && !b.view) bytes -= align_up(b.bytes());
  }
  return bytes;
}

TEST(RecomputeMemory, FullSavesMostActivations) {
  const Program plain = before_recompute(llama(12));
  const auto bytes_with = [&](const std::string& mode) {
    const Program p = placed(recompute(plain, test_ops(), recompute_choice(mode)), 2);
    verify(p, test_ops());
    return activation_bytes(p);
  };
  const int64_t none = bytes_with("none");
  int64_t before = none;
  for (const char* mode : {"cheap", "attention", "full"}) {
    const int64_t bytes = bytes_with(mode);
    fmt::print("{:<10} {:>9} of {:>9} activation bytes, {:.1f} % saved{}\n", mode, bytes, none,
               100.0 * static_cast<double>(none - bytes) / static_cast<double>(none),
               recompute_table(recompute_report(plain, test_ops(), recompute_choice(mode))));
    EXPECT_LT(bytes, before) << mode;
    before = bytes;
  }
  EXPECT_LE(bytes_with("full"), none / 5);
}

// Without shared addresses a replay saves nothing and costs no byte but its own workspace.
TEST(RecomputeMemory, WithoutSharingNothingIsSaved) {
  const Program plain = before_recompute(llama(2));
  const Program full = recompute(plain, test_ops(), recompute_choice("full"));
  EXPECT_EQ(full.buffers, plain.buffers);
  EXPECT_GE(placed(full, 1, false).arena_bytes.at(Home::device), placed(plain, 1, false).arena_bytes.at(Home::device));
}

// Arena by number of steps. Each step lowers it, but for two things. A step in the last layer frees what its backward
// needs again at the peak. And once only inputs of layers live across the border, the peak is the working set of one
// layer, and the order in which `place` sees sizes decides over single tensors: at most one percent.
TEST(RecomputeMemory, TheLadderMeetsEveryBudget) {
  const Program plain = before_recompute(llama(12));
  const auto ladder = recompute_ladder(plain, test_ops());
  std::vector<int64_t> bytes;
  for (size_t n = 0; n <= ladder.size(); ++n) {
    const Program p = placed(recompute(plain, test_ops(), steps(n)), 2);
    verify(p, test_ops());
    bytes.push_back(activation_bytes(p));
    if (n == 0) continue;
    const std::string layer = ladder[n - 1].tensor.substr(0, std::strlen("layers.11."));
    const bool at_the_border = layer != "layers.11." && !ladder[n - 1].tensor.ends_with("mlp_norm.sum");
    if (at_the_border) {
      EXPECT_LT(bytes[n], bytes[n - 1]) << n << ": " << ladder[n - 1].tensor;
    }
    EXPECT_LE(bytes[n], bytes[n - 1] + bytes[0] / 100) << n << ": " << ladder[n - 1].tensor;
  }
  const auto [least, most] = std::ranges::minmax(bytes);
  EXPECT_EQ(most, bytes[0]);
  EXPECT_LE(least, most / 5);
  size_t before = 0;
  for (int64_t i = 1; i <= 8; ++i) {
    const int64_t budget = most - i * (most - least) / 8;
    const auto first = std::ranges::find_if(bytes, [&](int64_t b) { return b <= budget; });
    ASSERT_NE(first, bytes.end());
    const auto n = static_cast<size_t>(first - bytes.begin());
    fmt::print("budget {:>8}: {:>2} steps, {:>8} bytes\n", budget, n, *first);
    EXPECT_GT(n, before);
    EXPECT_GT(*first, budget - bytes[0] / 30) << "a shorter ladder would do";  // no step frees more than a gate_up
    before = n;
  }
}

// Equals in ratio are taken from the lowest layer up, and the best ratio comes first.
TEST(RecomputeMemory, TheLadderIsSortedByWhatAStepGains) {
  const Program plain = before_recompute(llama(4));
  const auto ladder = recompute_ladder(plain, test_ops());
  ASSERT_EQ(ladder.size(), 4U * 7U);
  std::map<std::string, std::vector<std::string>> by_kind;
  for (const RecomputeStep& step : ladder) by_kind[step.kind].push_back(step.tensor);
  EXPECT_EQ(by_kind.size(), 7U);
  for (const auto& [kind, tensors] : by_kind) EXPECT_TRUE(std::ranges::is_sorted(tensors)) << kind;
  const double first = static_cast<double>(ladder[0].bytes_saved) / ladder[0].us;
  for (size_t i = 1; i < 4; ++i) {
    EXPECT_EQ(static_cast<double>(ladder[i].bytes_saved) / ladder[i].us, first);
    EXPECT_EQ(ladder[i].kind, ladder[0].kind);
  }
  // The longest ladder and `full` drop the same.
  const auto kept = [&](const RecomputeChoice& choice) {
    std::map<std::string, int64_t> rows;
    for (const RecomputeRow& row : recompute_report(plain, test_ops(), choice)) rows[row.kind] = row.bytes_kept;
    return rows;
  };
  EXPECT_EQ(kept(steps(ladder.size())), kept(recompute_choice("full")));
}

// By hand: swiglu reads [128, 344] and writes [128, 172] in f32 at 100 GB/s; gate_up is a product of 2 * 128 * 64 * 344
// operations on 128 * 64 + 344 * 64 + 128 * 344 numbers.
TEST(RecomputeMemory, PricesFollowTheCostRules) {
  const Program plain = before_recompute(llama(1));
  const auto row_of = [&](const std::string& kind, const MachineRates& rates) {
    const auto rows = recompute_report(plain, test_ops(), {.mode = Mode::full, .steps = 0, .rates = rates});
    return *std::ranges::find(rows, kind, &RecomputeRow::kind);
  };
  EXPECT_DOUBLE_EQ(row_of("layers.*.swiglu", {}).us, 128.0 * (344 + 172) * 4 / 1e11 * 1e6);
  const RecomputeRow gate_up = row_of("layers.*.gate_up", {});
  EXPECT_DOUBLE_EQ(gate_up.us, 4.0 * (128 * 64 + 344 * 64 + 128 * 344) / 1e11 * 1e6);
  EXPECT_EQ(gate_up.bytes_saved, 128 * 344 * 4);
  const MachineRates slow = {.flops_per_s = 1e9, .bytes_per_s = 1e11};
  EXPECT_DOUBLE_EQ(row_of("layers.*.gate_up", slow).us, 2.0 * 128 * 64 * 344 / 1e9 * 1e6);
}

TEST(RecomputeMemory, TheReportCountsWhatTheLadderSaves) {
  const Program plain = before_recompute(llama(3));
  const auto ladder = recompute_ladder(plain, test_ops());
  int64_t saved = 0;
  double us = 0;
  std::set<std::string> kinds;
  for (const RecomputeRow& row : recompute_report(plain, test_ops(), steps(ladder.size()))) {
    EXPECT_TRUE(kinds.insert(row.kind).second) << row.kind;
    EXPECT_GT(row.kept + row.replayed, 0);
    EXPECT_FALSE(row.why.empty());
    saved += row.bytes_saved;
    us += row.us;
  }
  for (const RecomputeStep& step : ladder) {
    saved -= step.bytes_saved;
    us -= step.us;
  }
  EXPECT_EQ(saved, 0);
  EXPECT_NEAR(us, 0, 1e-9);
  EXPECT_TRUE(kinds.contains("layers.*.gate_up"));
}

TEST(RecomputeMemory, DeepModelsArePlannedQuickly) {
  for (const int64_t layers : {32, 48}) {
    const Program plain = before_recompute(llama(layers, 256, 256));
    const auto seconds = [&](const char* what, auto&& run) {
      const auto start = std::chrono::steady_clock::now();
      run();
      const double s = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
      fmt::print("{} layers, {:<22} {:.3f} s\n", layers, what, s);
      return s;
    };
    size_t length = 0;
    EXPECT_LT(seconds("ladder", [&] { length = recompute_ladder(plain, test_ops()).size(); }), 10);
    Program p;
    seconds("recompute half of it", [&] { p = recompute(plain, test_ops(), steps(length / 2)); });
    seconds("sections and scratch", [&] { p = add_cpu_workspaces(sections(p, test_ops(), 4), test_ops(), {2}); });
    seconds("place", [&] { p = place(p); });
    seconds("verify", [&] { verify(p, test_ops()); });
    seconds("place, none replayed", [&] { placed(plain, 4); });
  }
}

}  // namespace
}  // namespace centavo::testing
