// One builder, every program: decoding with a cache and LoRA come from the text that trains.

#include <gtest/gtest.h>

#include <cmath>

#include "model/initialize.h"
#include "ops/linear/linear.h"
#include "passes/differentiate.h"
#include "passes/optimize.h"
#include "passes/sections.h"
#include "tests/support/models.h"
#include "tests/support/op_check.h"
#include "train/generate.h"
#include "train/trainer.h"

namespace centavo::testing {
namespace {

constexpr int64_t kLength = 11;

std::vector<double> token_row(int64_t count) {
  std::vector<double> tokens;
  for (int64_t i = 0; i < count; ++i) tokens.push_back(static_cast<double>((5 * i * i + 2) % 61));
  return tokens;
}

// Logits of `tokens` from `first` on, fed to a machine made by `decoding`.
std::vector<double> feed(CpuMachine& machine, const std::vector<double>& tokens, int64_t first) {
  std::vector<double> positions;
  for (size_t i = 0; i < tokens.size(); ++i) positions.push_back(static_cast<double>(first) + static_cast<double>(i));
  set_tensor(machine, "tokens", tokens);
  set_tensor(machine, "positions", positions);
  set_tensor(machine, "position", {static_cast<double>(first)});
  set_tensor(machine, "cu_seqlens", {0, static_cast<double>(tokens.size())});
  machine.step();
  return get_tensor(machine, "logits");
}

// The cache changes where keys are read from, not what is computed: the same sums in another tiling. Bound: a few
// hundred roundings of f32 through two layers.
constexpr double kDecodeBound = 300 * 0x1p-24;

TEST(OneBuilder, PrefillAndDecodeEqualTheWhole) {
  for (const ModelConfig& model : {golden_model(true), golden_model(true, 4), golden_gpt2_model(true)}) {
    const auto tokens = token_row(kLength);
    const auto whole = machine_for(decoding(test_ops(), model, 1, kLength, kLength), {.share_addresses = false});
    initialize_parameters(*whole, model, 4);
    const auto expected = feed(*whole, tokens, 0);

    const int64_t prompt = 6;
    const auto prefill = machine_for(decoding(test_ops(), model, 1, prompt, kLength));
    initialize_parameters(*prefill, model, 4);
    const auto first = feed(*prefill, {tokens.begin(), tokens.begin() + prompt}, 0);
    expect_near(first, {expected.begin(), expected.begin() + prompt * 61}, kDecodeBound, "prefill");

    const auto decode = machine_for(decoding(test_ops(), model, 1, 1, kLength));
    initialize_parameters(*decode, model, 4);
    for (const Buffer& b : decode->program().buffers) {
      if (b.kind == BufferKind::cache) set_tensor(*decode, b.name, get_tensor(*prefill, b.name));
    }
    for (int64_t i = prompt; i < kLength; ++i) {
      const auto logits = feed(*decode, {tokens[static_cast<size_t>(i)]}, i);
      expect_near(logits, {expected.begin() + i * 61, expected.begin() + (i + 1) * 61}, kDecodeBound, "decode");
    }
  }
}

TEST(OneBuilder, BiasesOfTheAttentionStandAlone) {
  for (const bool qkv : {false, true}) {
    for (const bool o : {false, true}) {
      ModelConfig model = golden_model(true);
      model.attention_bias = qkv;
      model.attention_output_bias = o;
      const Program program = decoding(test_ops(), model, 1, 1, kLength);
      for (const char* layer : {"layers.0.", "layers.1."}) {
        EXPECT_EQ(program.find(layer + std::string("qkv.bias")) != kNone, qkv);
        EXPECT_EQ(program.find(layer + std::string("o.bias")) != kNone, o);
      }
    }
  }
}

TEST(OneBuilder, ASampleIsRepeatableAndEndsWithTheContext) {
  const RunConfig config = micro_run(fresh_directory("sample"), {"model.max_position_embeddings=40"});
  Trainer trainer(test_ops(), config, {});
  trainer.train_step();
  const GenerationSettings settings{.max_tokens = 100, .draw = {.temperature = 0.9}, .seed = 3};
  const Tokenizer bytes;
  Generator generator(test_ops(), config.model,
                      {.precision = config.precision,
                       .worker = CpuMachine::thread_count(0),
                       .in_units = true,
                       .shard = "ddp",
                       .borrowed = {BufferKind::parameter}},
                      trainer.machine(), 40);
  const std::vector<int32_t> prompt = prompt_tokens(bytes, "line", 40);
  const GeneratedText once = generate_text(generator, bytes, drawable(bytes), prompt, settings);
  EXPECT_EQ(once.tokens, 36);
  EXPECT_EQ(once.stop, Stop::context);
  EXPECT_EQ(sample_text(test_ops(), config, CpuMachine::thread_count(0), trainer.machine(), bytes, "line", settings),
            once.text);
}

struct LoraRun {
  Program program;
  std::unique_ptr<CpuMachine> machine;
};

LoraRun lora_run(const ModelConfig& model) {
  const BatchShape batch{.sequences = 2, .seq_len = kLength, .slots = 2};
  const TransformerOptions options{.caches = {}, .lora = LoraSettings{.rank = 4, .alpha = 8}};
  Program program = differentiate(training_forward(test_ops(), model, batch, 8, options), test_ops());
  program = sections(optimize(std::move(program), test_ops(), {}), test_ops(), 1);
  auto machine = machine_for(program);
  initialize_parameters(*machine, model, 4);
  for (int64_t slot = 0; slot < 2; ++slot) {
    std::vector<int32_t> tokens, targets, positions;
    for (int64_t i = 0; i < 2 * kLength; ++i) {
      tokens.push_back(static_cast<int32_t>((3 * i) % 61));
      targets.push_back(static_cast<int32_t>((3 * i + 3) % 61));
      positions.push_back(static_cast<int32_t>(i % kLength));
    }
    const auto write = [&](const char* name, const std::vector<int32_t>& values) {
      machine->write(name, std::as_bytes(std::span(values)), slot);
    };
    write("tokens", tokens);
    write("targets", targets);
    write("positions", positions);
    write("cu_seqlens", {0, kLength, 2 * kLength});
  }
  return {std::move(program), std::move(machine)};
}

class Lora : public ::testing::TestWithParam<ModelConfig> {};

INSTANTIATE_TEST_SUITE_P(OneBuilder, Lora, ::testing::Values(golden_model(true), golden_gpt2_model(true)),
                         [](const auto& given) { return given.param.model_type; });

TEST_P(Lora, TrainsAdaptersOnly) {
  const ModelConfig& model = GetParam();
  const LoraRun run = lora_run(model);
  std::map<std::string, std::vector<double>> frozen;
  for (const Buffer& b : run.program.buffers) {
    const bool adapter = b.name.find(".lora_") != std::string::npos;
    const bool trained = b.kind == BufferKind::gradient || b.kind == BufferKind::optimizer_state;
    EXPECT_TRUE(adapter || !trained) << b.name;
    if (b.kind == BufferKind::parameter && !adapter) frozen[b.name] = get_tensor(*run.machine, b.name);
  }
  for (const Section& section : run.program.sections) {
    for (const Op& op : section.ops) EXPECT_NE(op.kind, "embedding_grad");  // nothing behind it is trainable
  }
  std::vector<double> losses;
  for (int64_t step = 0; step < 20; ++step) {
    const float lr = 1e-2F;
    run.machine->write("lr", std::as_bytes(std::span<const float>(&lr, 1)), step % 2);
    run.machine->step();
    losses.push_back(get_tensor(*run.machine, "metrics", step % 2)[0]);
  }
  EXPECT_LT(losses.back(), 0.9 * losses.front());
  for (const auto& [name, values] : frozen) EXPECT_EQ(get_tensor(*run.machine, name), values) << name;
}

// lora_b starts at 0, so the first loss is that of the frozen model.
TEST_P(Lora, StartsAtTheFrozenModel) {
  const ModelConfig& model = GetParam();
  const LoraRun run = lora_run(model);
  run.machine->step();
  const BatchShape batch{.sequences = 2, .seq_len = kLength};
  const auto plain = machine_for(evaluation(test_ops(), model, batch, 8));
  initialize_parameters(*plain, model, 4);
  for (const char* name : {"tokens", "targets", "positions", "cu_seqlens"}) {
    set_tensor(*plain, name, get_tensor(*run.machine, name));
  }
  plain->step();
  EXPECT_NEAR(get_tensor(*run.machine, "loss")[0], get_tensor(*plain, "loss")[0], 1e-5 * get_tensor(*plain, "loss")[0]);
}

}  // namespace
}  // namespace centavo::testing
