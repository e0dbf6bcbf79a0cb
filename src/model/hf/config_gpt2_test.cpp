#include <gtest/gtest.h>

#include <map>

#include "tests/support/config_check.h"
#include "tests/support/models.h"

namespace centavo::testing {
namespace {

using nlohmann::json;

ModelConfig gpt2_model() { return golden_gpt2_model(true); }

TEST(ConfigJson, DefaultsOfGpt2) {
  const ConfigJson config = parse(json{{"model_type", "gpt2"}});
  ModelConfig expected = gpt2_model();
  expected.vocab_size = 50257;
  expected.hidden_size = 768;
  expected.intermediate_size = 3072;
  expected.num_hidden_layers = expected.num_attention_heads = expected.num_key_value_heads = 12;
  expected.head_dim = 64;
  expected.max_position_embeddings = 1024;
  EXPECT_EQ(config.model, expected);
  EXPECT_EQ(config.bos_token_id, 50256);
  EXPECT_EQ(config.eos_token_ids, std::vector<int64_t>{50256});
}

TEST(ConfigJson, Gpt2ReadsBackWhatItWrites) {
  ConfigJson config{gpt2_model(), 7, {8}};
  config.model.layer_norm_epsilon = 3e-6;
  config.model.tie_word_embeddings = false;
  const std::string text = print_config_json(config, DType::f32);
  EXPECT_EQ(parse_config_json(text, "x"), config);
  EXPECT_EQ(print_config_json(config, DType::f32), text);
  EXPECT_EQ(parse_json(text)["architectures"], json({"GPT2LMHeadModel"}));
}

TEST(ConfigJson, Gpt2UnderTheGenericNames) {
  json file = parse_json(print_config_json({gpt2_model(), 7, {8}}, DType::f32));
  const std::map<std::string, std::string> names = {{"n_embd", "hidden_size"},
                                                    {"n_layer", "num_hidden_layers"},
                                                    {"n_head", "num_attention_heads"},
                                                    {"n_positions", "max_position_embeddings"}};
  for (const auto& [own, generic] : names) {
    json both = file;
    both[generic] = file[own].get<int64_t>() + 1;
    expect_refused(both, fmt::format("{} beside it is {}", generic, json_text(both[generic])));
    file[generic] = file[own];
    file.erase(own);
  }
  EXPECT_EQ(parse(file).model, gpt2_model());
}

TEST(ConfigJson, RefusesWhatGpt2CannotCompute) {
  const json good = parse_json(print_config_json({gpt2_model(), 7, {8}}, DType::f32));
  const auto with_gpt2 = [&](const char* key, const json& value) {
    json file = good;
    file[key] = value;
    return file;
  };
  expect_refused(with_gpt2("scale_attn_by_inverse_layer_idx", true), "scale_attn_by_inverse_layer_idx is true");
  expect_refused(with_gpt2("reorder_and_upcast_attn", true), "reorder_and_upcast_attn is true");
  expect_refused(with_gpt2("add_cross_attention", true), "add_cross_attention is true");
  expect_refused(with_gpt2("scale_attn_weights", false), "scale_attn_weights is false");
  for (const char* other : {"gelu", "relu", "silu"}) {
    expect_refused(with_gpt2("activation_function", other), "centavo computes gelu_new here");
  }
  EXPECT_EQ(parse(with_gpt2("activation_function", "gelu_pytorch_tanh")).model, gpt2_model());
  expect_refused(with_gpt2("architectures", {"GPT2ForSequenceClassification"}), "centavo reads GPT2LMHeadModel");
  expect_refused(with_gpt2("n_head", 5), "n_embd 32 is not a multiple of n_head 5");
  expect_refused(with_gpt2("n_embd", 0), "n_embd is 0 and must lie between 1 and");
  expect_refused(with_gpt2("n_head", 32), "heads of 1 elements");
  expect_refused(with_gpt2("quantization_config", {{"quant_method", "gptq"}}), "quantization_config is");
}

}  // namespace
}  // namespace centavo::testing
