#include "passes/units.h"

#include <gtest/gtest.h>

#include "passes/differentiate.h"
#include "passes/optimize.h"
#include "program/tensors.h"
#include "program/text.h"
#include "program/verify.h"
#include "tests/support/models.h"

namespace centavo::testing {
namespace {

Program differentiated(bool tied, const TransformerOptions& options = {}) {
  ModelConfig model = golden_model(tied);
  model.attention_bias = model.attention_output_bias = true;
  const BatchShape batch{.sequences = 2, .seq_len = 8, .slots = 2};
  return differentiate(training_forward(test_ops(), model, batch, 8, options), test_ops());
}

std::vector<std::string> names_of(const Program& program, const std::vector<BufferId>& ids) {
  std::vector<std::string> names;
  for (const BufferId id : ids) names.push_back(program.buffer(id).name);
  return names;
}

TEST(Units, GroupsByLayerAndDimension) {
  const Program program = units(differentiated(false), test_ops());
  verify(program, test_ops());
  EXPECT_EQ(names_of(program, unit_buffers(program)),
            (std::vector<std::string>{"embed", "norms", "layers.0", "vectors", "layers.1", "head"}));
  EXPECT_EQ(names_of(program, tensors_of(program, program.find("layers.1"))),
            (std::vector<std::string>{"layers.1.qkv.weight", "layers.1.o.weight", "layers.1.gate_up.weight",
                                      "layers.1.down.weight"}));
  EXPECT_EQ(names_of(program, tensors_of(program, program.find("vectors"))),
            (std::vector<std::string>{"layers.0.qkv.bias", "layers.0.o.bias", "layers.1.qkv.bias", "layers.1.o.bias"}));
  EXPECT_EQ(names_of(program, tensors_of(program, program.find("norms"))),
            (std::vector<std::string>{"layers.0.attn_norm.weight", "layers.0.mlp_norm.weight",
                                      "layers.1.attn_norm.weight", "layers.1.mlp_norm.weight", "norm.weight"}));
}

TEST(Units, ATiedHeadIsTheEmbedding) {
  const Program program = units(differentiated(true), test_ops());
  EXPECT_EQ(program.find("head"), kNone);
  EXPECT_NE(program.find("embed"), kNone);
}

TEST(Units, TensorsAndTheirGradientsLieAlike) {
  const Program program = units(differentiated(false), test_ops());
  for (const BufferId unit : unit_buffers(program)) {
    const BufferId gradient = program.find(program.buffer(unit).name + ".grad");
    ASSERT_NE(gradient, kNone);
    EXPECT_EQ(program.buffer(gradient).layout, unit);
    int64_t end = 0;
    for (const BufferId id : tensors_of(program, unit)) {
      const Buffer& tensor = program.buffer(id);
      const Buffer& its_gradient = program.buffer(program.find(tensor.name + ".grad"));
      EXPECT_EQ(its_gradient.view->parent, gradient);
      EXPECT_EQ(its_gradient.view->offset, tensor.view->offset);
      EXPECT_EQ(tensor.view->offset % kUnitAlignment, 0);
      EXPECT_GE(tensor.view->offset, end) << "tensors overlap";
      end = tensor.view->offset + tensor.elements();
    }
  }
}

TEST(Units, FrozenTensorsAreApart) {
  TransformerOptions options;
  options.lora = LoraSettings{.rank = 2, .alpha = 4};
  const Program program = units(differentiated(false, options), test_ops());
  verify(program, test_ops());
  for (const BufferId unit : unit_buffers(program)) {
    const Buffer& b = program.buffer(unit);
    EXPECT_EQ(b.trainable, !b.name.ends_with(".frozen")) << b.name;
    EXPECT_EQ(program.find(b.name + ".grad") != kNone, b.trainable) << b.name;
    for (const BufferId tensor : tensors_of(program, unit)) {
      EXPECT_EQ(program.buffer(tensor).name.find(".lora_") != std::string::npos, b.trainable);
    }
  }
}

// 61 x 32 elements are no multiple of 64: what is left of the gradient is filled.
TEST(Units, GapsOfGradientsAreFilled) {
  const Program program = units(differentiated(true), test_ops());
  const auto gaps = gaps_of(program, program.find("embed"), program.buffer(program.find("embed.grad")).elements());
  ASSERT_EQ(gaps.size(), 1u);
  EXPECT_EQ(gaps[0].begin, 61 * 32);
  EXPECT_EQ(gaps[0].end, 62 * 32);
  EXPECT_NE(print(program).find("embed.grad.gap.1952 = fill() value=0.0"), std::string::npos);
}

TEST(Units, DecayFollowsTheDimension) {
  const Program program = optimize(units(differentiated(false), test_ops()), test_ops(), {.weight_decay = 0.25});
  for (const Op& op : program.find_section("update")->ops) {
    if (op.kind != "adamw") continue;
    const std::string& unit = program.buffer(op.inputs[0]).name;
    const bool decays = unit != "vectors" && unit != "norms";
    EXPECT_EQ(std::get<double>(op.attributes.at("weight_decay")), decays ? 0.25 : 0.0);
  }
}

TEST(TensorParts, AreTheTensorsOfAWholeProgram) {
  const Program program = optimize(units(differentiated(false), test_ops()), test_ops(), {});
  std::map<std::string, TensorPart> parts;
  for (const TensorPart& part : tensor_parts(program)) {
    EXPECT_TRUE(parts.emplace(part.tensor, part).second) << part.tensor << " twice";
    EXPECT_EQ(part.elements(), element_count(part.shape));
  }
  ASSERT_TRUE(parts.contains("layers.0.o.weight.v"));
  const TensorPart& v = parts.at("layers.0.o.weight.v");
  EXPECT_EQ(program.buffer(v.buffer).name, "layers.0.v");
  EXPECT_EQ(v.at, program.buffer(program.find("layers.0.o.weight")).view->offset);
  EXPECT_EQ(v.shape, (Shape{32, 32}));
  EXPECT_TRUE(parts.contains("step"));
  EXPECT_FALSE(parts.contains("layers.0"));
}

TEST(Units, PrintBackTheSame) {
  const Program program = optimize(units(differentiated(false), test_ops()), test_ops(), {});
  EXPECT_EQ(parse(print(program)), program);
}

}  // namespace
}  // namespace centavo::testing
