#include "passes/fuse_swiglu.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "passes/fuse_replays.h"
#include "program/text.h"
#include "program/verify.h"
#include "tests/support/op_check.h"
#include "tests/support/recompute_setting.h"

namespace centavo::testing {
namespace {

// A feed-forward layer, and what else may stand there.
const std::string kLayer = R"(centavo 1
buffer x f32[4, 4] parameter persistent
buffer up.weight f32[12, 4] parameter persistent
buffer down.weight f32[4, 6] parameter persistent
buffer bias f32[12] parameter persistent
buffer gate_up f32[4, 12] activation
buffer s f32[4, 6] activation
buffer y f32[4, 4] activation
section micro
  %1 gate_up = linear(x, up.weight) scale=1.0 | layer=0
  %2 s = swiglu(gate_up) | layer=0
  %3 y = linear(s, down.weight) scale=1.0 | layer=0
step micro
)";

const std::string kLinear = "  %1 gate_up = linear(x, up.weight) scale=1.0 | layer=0\n";
const std::string kSwiGlu = "  %2 s = swiglu(gate_up) | layer=0\n";

// kLayer with other text in the place of a piece.
std::string layer_with(const std::string& piece, const std::string& instead) {
  std::string text = kLayer;
  const size_t at = text.find(piece);
  EXPECT_NE(at, std::string::npos);
  return text.replace(at, piece.size(), instead);
}

TEST(FuseSwiGlu, APairBecomesOneOp) {
  const Program p = fuse_swiglu(parse(kLayer));
  EXPECT_EQ(print(p), layer_with(kLinear + kSwiGlu, "  %1 gate_up, s = linear_swiglu(x, up.weight) | layer=0\n"));
  EXPECT_EQ(fuse_swiglu(p), p) << "there is nothing more";
}

TEST(FuseSwiGlu, NotWhereSomethingComesBetweenOrIsAdded) {
  const std::string more = "  %4 +gate_up = linear(x, up.weight) scale=0.5 | layer=0\n";
  for (const std::string& text :
       {layer_with(kSwiGlu, more + kSwiGlu), layer_with("linear(x, up.weight)", "linear(x, up.weight, bias)"),
        layer_with("scale=1.0", "scale=2.0"), layer_with(kSwiGlu, "  %2 s = swiglu(gate_up) | layer=1\n")}) {
    EXPECT_EQ(print(fuse_swiglu(parse(text))), print(parse(text)));
  }
}

// ---- models ---------------------------------------------------------------------------------------------------------

Setting four_layers() {
  Setting s{.name = "llama",
            .model = golden_model(true),
            .batch = {.sequences = 2, .seq_len = 32, .slots = 4},
            .precision = "bf16"};
  s.model.num_hidden_layers = 4;
  s.model.intermediate_size = 96;
  return s;
}

// How many ops of `micro` are of this kind, and replays or not.
int64_t count(const Program& p, std::string_view kind, bool replays) {
  return std::ranges::count_if(p.find_section("micro")->ops,
                               [&](const Op& op) { return (op.id != op.logical) == replays && op.kind == kind; });
}

TEST(FuseSwiGlu, EveryLayerOfAModelButNotWithLora) {
  const Program p = fuse_swiglu(before_recompute(four_layers()));
  EXPECT_EQ(count(p, "linear_swiglu", false), 4);
  EXPECT_EQ(count(p, "swiglu", false), 0);
  verify(placed(p, 1), test_ops());
  EXPECT_EQ(parse(print(p)), p);
  Setting lora = four_layers();
  lora.lora = LoraSettings{.rank = 4, .alpha = 8};
  EXPECT_EQ(fuse_swiglu(before_recompute(lora)), before_recompute(lora));
}

// What is replayed is s alone where gate_up is kept, else the whole op.
TEST(FuseSwiGlu, RecomputeTakesWhatItNeeds) {
  const Program fused = fuse_swiglu(before_recompute(four_layers()));
  const auto recomputed = [&](const char* mode) { return recompute(fused, test_ops(), recompute_choice(mode)); };
  for (const char* mode : {"cheap", "attention"}) {
    SCOPED_TRACE(mode);
    const Program p = recomputed(mode);
    EXPECT_EQ(count(p, "swiglu", true), 4);
    EXPECT_EQ(count(p, "linear_swiglu", true), 0);
    EXPECT_EQ(count(fuse_replays(p), "swiglu", true), 0);
  }
  const Program full = recomputed("full");
  EXPECT_EQ(count(full, "linear_swiglu", true), 4);
  EXPECT_EQ(count(full, "swiglu", true), 0);
  verify(placed(full, 2), test_ops());
}

// A whole replay holds h and s beside gate_up.
TEST(FuseSwiGlu, NoByteMoreButForWholeReplays) {
  const Program plain = before_recompute(four_layers());
  const auto bytes = [&](const char* name) { return plain.buffer(plain.find(name)).bytes(); };
  for (const char* mode : {"none", "cheap", "attention", "full"}) {
    SCOPED_TRACE(mode);
    const auto arena = [&](const Program& p) {
      const Program recomputed = fuse_replays(recompute(p, test_ops(), recompute_choice(mode)));
      return placed(recomputed, 2).arena_bytes.at(Home::device);
    };
    const bool whole = std::string_view(mode) == "full";
    const int64_t more = whole ? bytes("layers.0.mlp_norm") + bytes("layers.0.swiglu") : 0;
    EXPECT_LE(arena(fuse_swiglu(plain)), arena(plain) + more);
  }
}

}  // namespace
}  // namespace centavo::testing
