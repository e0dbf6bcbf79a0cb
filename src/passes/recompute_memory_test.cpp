// What recompute saves, by the only measure that counts: the placed arena.

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <map>
#include <set>

#include "passes/recompute_report.h"
#include "program/lifetime.h"
#include "program/verify.h"
#include "tests/support/recompute_setting.h"
#include "tests/support/sanitized.h"

namespace centavo::testing {
namespace {

using Mode = RecomputeChoice::Mode;

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
  if (kSanitized) GTEST_SKIP() << "every step of a ladder is placed: that is hundreds of programs";
  const Program plain = before_recompute(llama(12));
  const auto ladder = recompute_ladder(plain, test_ops());
  std::vector<int64_t> bytes;
  for (size_t n = 0; n <= ladder.size(); ++n) {
    const Program p = placed(recompute(plain, test_ops(), steps(n)), 2);
    verify(p, test_ops());
    bytes.push_back(activation_bytes(p));
    if (n == 0) continue;
    const std::string& tensor = plain.buffer(ladder[n - 1].tensor).name;
    const bool at_the_border = ladder[n - 1].layer != 11 && !tensor.ends_with("mlp_norm.sum");
    if (at_the_border) {
      EXPECT_LT(bytes[n], bytes[n - 1]) << n << ": " << tensor;
    }
    EXPECT_LE(bytes[n], bytes[n - 1] + bytes[0] / 100) << n << ": " << tensor;
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
  const auto kind_of = [&](const RecomputeStep& step) {
    return plain.buffer(step.tensor).name.substr(std::string("layers.0.").size());
  };
  std::map<std::string, std::vector<int32_t>> layers;
  for (const RecomputeStep& step : ladder) layers[kind_of(step)].push_back(step.layer);
  EXPECT_EQ(layers.size(), 7U);
  for (const auto& [kind, of_kind] : layers) EXPECT_TRUE(std::ranges::is_sorted(of_kind)) << kind;
  const double first = static_cast<double>(ladder[0].bytes) / ladder[0].us;
  for (size_t i = 1; i < 4; ++i) {
    EXPECT_EQ(static_cast<double>(ladder[i].bytes) / ladder[i].us, first);
    EXPECT_EQ(kind_of(ladder[i]),
              i % 2 == 0 ? "attn_norm" : "mlp_norm");  // the gradients of both write h along the way
  }
  // The longest ladder and `full` drop the same.
  const auto kept = [&](const RecomputeChoice& choice) {
    std::map<std::string, int64_t> rows;
    for (const RecomputeRow& row : recompute_report(plain, test_ops(), choice)) rows[row.kind] = row.bytes_kept;
    return rows;
  };
  EXPECT_EQ(kept(steps(ladder.size())), kept(recompute_choice("full")));
}

// By hand: swiglu's [128, 172] in f32 is written along the way at 100 GB/s, and so are the norms' [128, 64]; gate_up is
// a product of 2 * 128 * 64 * 344 operations on 128 * 64 + 344 * 64 + 128 * 344 numbers.
TEST(RecomputeMemory, PricesFollowTheCostRules) {
  const Program plain = before_recompute(llama(1));
  const auto row_of = [&](const std::string& kind, const MachineRates& rates) {
    const auto rows = recompute_report(plain, test_ops(), {.mode = Mode::full, .steps = 0, .rates = rates});
    return *std::ranges::find(rows, kind, &RecomputeRow::kind);
  };
  EXPECT_DOUBLE_EQ(row_of("layers.*.swiglu", {}).us, 128.0 * 172 * 4 / 1e11 * 1e6);
  EXPECT_DOUBLE_EQ(row_of("layers.*.attn_norm", {}).us, 128.0 * 64 * 4 / 1e11 * 1e6);
  const RecomputeRow gate_up = row_of("layers.*.gate_up", {});
  EXPECT_DOUBLE_EQ(gate_up.us, 4.0 * (128 * 64 + 344 * 64 + 128 * 344) / 1e11 * 1e6);
  EXPECT_EQ(gate_up.bytes_saved, 128 * 344 * 4);
  const MachineRates slow = {.flops_per_s = 1e9, .attention_flops_per_s = 1e9, .bytes_per_s = 1e11};
  EXPECT_DOUBLE_EQ(row_of("layers.*.gate_up", slow).us, 2.0 * 128 * 64 * 344 / 1e9 * 1e6);
  const auto attention_at = [&](double flops_per_s) {
    return row_of("layers.*.attention", {.attention_flops_per_s = flops_per_s, .bytes_per_s = 1e15}).us;
  };
  EXPECT_DOUBLE_EQ(attention_at(1e9), 2 * attention_at(2e9));
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
    saved -= step.bytes;
    us -= step.us;
  }
  EXPECT_EQ(saved, 0);
  EXPECT_NEAR(us, 0, 1e-9);
  EXPECT_TRUE(kinds.contains("layers.*.gate_up"));
}

TEST(RecomputeMemory, DeepModelsArePlannedQuickly) {
  if (kSanitized) GTEST_SKIP() << "times under sanitizers mean nothing";
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
