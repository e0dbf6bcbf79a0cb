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

// ---- the backward ---------------------------------------------------------------------------------------------------

// A feed-forward layer's backward, without replays.
const std::string kBackward = R"(centavo 1
buffer dy f32[4, 4] parameter persistent
buffer down.weight f32[4, 6] parameter persistent
buffer lora.a f32[4, 6] parameter persistent
buffer other f32[4, 6] activation
buffer gate_up f32[4, 12] parameter persistent
buffer s f32[4, 6] activation
buffer down.weight.grad f32[4, 6] gradient
buffer d.s f32[4, 6] activation
buffer d.gate_up f32[4, 12] activation
section micro
  %2 s = swiglu(gate_up) | layer=0
  %5 d.s = linear_dx(dy, down.weight) scale=1.0 | layer=0 backward
  %6 down.weight.grad = linear_dw(dy, s) scale=1.0 | layer=0 backward
  %7 d.gate_up = swiglu_grad(d.s, gate_up) | layer=0 backward
step micro
)";

const std::string kDx = "  %5 d.s = linear_dx(dy, down.weight) scale=1.0 | layer=0 backward\n";
const std::string kDw = "  %6 down.weight.grad = linear_dw(dy, s) scale=1.0 | layer=0 backward\n";
const std::string kGrad = "  %7 d.gate_up = swiglu_grad(d.s, gate_up) | layer=0 backward\n";

std::string backward_with(const std::string& piece, const std::string& instead) {
  std::string text = kBackward;
  const size_t at = text.find(piece);
  EXPECT_NE(at, std::string::npos) << piece;
  return text.replace(at, piece.size(), instead);
}

std::string without_ds(std::string text) {
  const size_t at = text.find("buffer d.s ");
  return text.erase(at, text.find('\n', at) + 1 - at);
}

TEST(FuseSwiGluGrad, TheProductMovesDownToItsReader) {
  const Program p = fuse_swiglu_grad(parse(kBackward));
  const std::string expected = backward_with(
      kDx + kDw + kGrad, kDw + "  %7 d.gate_up = linear_dx_swiglu_grad(dy, down.weight, gate_up) | layer=0 backward\n");
  EXPECT_EQ(print(p), without_ds(expected));
  EXPECT_EQ(fuse_swiglu_grad(p), p) << "there is nothing more";
}

// As fuse_replays leaves them: ds in the place of s, and the reader of s behind.
TEST(FuseSwiGluGrad, SThatTookThePlaceOfDsIsAnOutput) {
  std::string text = backward_with("buffer d.s f32[4, 6] activation", "buffer d.s f32[4, 6] activation view=s+0");
  const std::string before = kDx + kDw + kGrad;
  const std::string with_s = "  %7 d.gate_up, s = swiglu_grad(d.s, gate_up) | layer=0 backward\n";
  text.replace(text.find(before), before.size(), kDx + with_s + kDw);
  std::string expected = text;
  expected.replace(expected.find(kDx + with_s), (kDx + with_s).size(),
                   "  %7 d.gate_up, s = linear_dx_swiglu_grad(dy, down.weight, gate_up) | layer=0 backward\n");
  EXPECT_EQ(print(fuse_swiglu_grad(parse(text))), without_ds(expected));
}

TEST(FuseSwiGluGrad, NotWhereDsIsNeededElsewhereOrTheProductMayNotMove) {
  const std::string lora = "  %8 +d.s = linear_dx(dy, lora.a) scale=2.0 | layer=0 backward\n";
  for (const std::string& text :
       {backward_with(kDw, kDw + lora),                                                                   //
        backward_with(kGrad, kGrad + "  %9 other = copy(d.s) | layer=0 backward\n"),                      //
        backward_with(kDw, kDw + "  %9 dy = linear_dx(dy, down.weight) scale=1.0 | layer=0 backward\n"),  //
        backward_with("down.weight) scale=1.0 | layer=0 backward", "down.weight) scale=2.0 | layer=0 backward"),
        backward_with("gate_up) | layer=0 backward", "gate_up) | layer=1 backward"),
        backward_with("buffer d.s f32[4, 6] activation",
                      "buffer d.s f32[4, 6] activation\nbuffer window f32[6] activation view=d.s+0")}) {
    EXPECT_EQ(print(fuse_swiglu_grad(parse(text))), print(parse(text)));
  }
}

// The programs in front of the pass, and behind it.
struct Both {
  Program before, after;
};

Both recomputed(const Setting& s, const std::string& mode) {
  Program p = fuse_replays(recompute(fuse_swiglu(before_recompute(s)), test_ops(), recompute_choice(mode)));
  return {p, fuse_swiglu_grad(p)};
}

TEST(FuseSwiGluGrad, EveryLayerWhateverIsReplayed) {
  for (const char* mode : {"none", "cheap", "attention", "full"}) {
    SCOPED_TRACE(mode);
    const Program p = recomputed(four_layers(), mode).after;
    EXPECT_EQ(count(p, "linear_dx_swiglu_grad", false), 4);
    EXPECT_EQ(count(p, "swiglu_grad", false), 0);
    verify(placed(p, 2), test_ops());
    EXPECT_EQ(parse(print(p)), p);
  }
}

TEST(FuseSwiGluGrad, NoByteMore) {
  for (const char* mode : {"none", "cheap", "attention", "full"}) {
    SCOPED_TRACE(mode);
    const Both both = recomputed(four_layers(), mode);
    const auto arena = [](const Program& p) { return placed(p, 2).arena_bytes.at(Home::device); };
    EXPECT_LE(arena(both.after), arena(both.before));
  }
}

TEST(FuseSwiGluGrad, NotWithLora) {
  Setting lora = four_layers();
  lora.lora = LoraSettings{.rank = 4, .alpha = 8};
  const Both both = recomputed(lora, "none");
  EXPECT_EQ(both.after, both.before);
}

}  // namespace
}  // namespace centavo::testing
