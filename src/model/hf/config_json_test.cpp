#include "model/hf/config_json.h"

#include <gtest/gtest.h>

#include <functional>

#include "base/json.h"
#include "model/hf/family.h"
#include "tests/support/config_check.h"
#include "tests/support/models.h"

namespace centavo {
namespace {

using nlohmann::json;
using testing::expect_refused;
using testing::parse;

// As transformers 4 wrote it.
json llama_file() {
  return parse_json(R"({
    "_name_or_path": "x", "architectures": ["LlamaForCausalLM"], "model_type": "llama", "torch_dtype": "bfloat16",
    "vocab_size": 512, "hidden_size": 96, "intermediate_size": 160, "num_hidden_layers": 3, "num_attention_heads": 6,
    "num_key_value_heads": 2, "head_dim": 32, "max_position_embeddings": 1024, "rms_norm_eps": 1e-4,
    "rope_theta": 500000.0, "rope_scaling": null, "tie_word_embeddings": true, "attention_bias": true,
    "mlp_bias": false, "hidden_act": "silu", "attention_dropout": 0.1, "initializer_range": 0.01, "bos_token_id": 7,
    "eos_token_id": [8, 9], "pad_token_id": null, "pretraining_tp": 2, "use_cache": false})");
}

ModelConfig llama_model() {
  ModelConfig c;
  c.vocab_size = 512;
  c.hidden_size = 96;
  c.intermediate_size = 160;
  c.num_hidden_layers = 3;
  c.num_attention_heads = 6;
  c.num_key_value_heads = 2;
  c.head_dim = 32;
  c.rms_norm_eps = 1e-4;
  c.rope_theta = 500000;
  c.tie_word_embeddings = true;
  c.attention_bias = c.attention_output_bias = true;
  c.initializer_range = 0.01;
  c.max_position_embeddings = 1024;
  return c;
}

ModelConfig gpt2_model() { return testing::golden_gpt2_model(true); }

json without(const std::string& key) {
  json file = llama_file();
  file.erase(key);
  return file;
}

json with(const std::string& key, const json& value) {
  json file = llama_file();
  file[key] = value;
  return file;
}

TEST(ConfigJson, ReadsEveryKey) {
  const ConfigJson config = parse(llama_file());
  EXPECT_EQ(config.model, llama_model());
  EXPECT_EQ(config.bos_token_id, 7);
  EXPECT_EQ(config.eos_token_ids, (std::vector<int64_t>{8, 9}));
}

// One key absent at a time: its default, and nothing else changes.
TEST(ConfigJson, AnAbsentKeyTakesTheDefaultOfLlama) {
  const auto expect = [](const char* key, auto change) {
    ConfigJson expected = parse(llama_file());
    change(expected);
    EXPECT_EQ(parse(without(key)), expected) << key;
  };
  expect("vocab_size", [](ConfigJson& c) { c.model.vocab_size = 32000; });
  expect("hidden_size", [](ConfigJson& c) { c.model.hidden_size = 4096; });
  expect("intermediate_size", [](ConfigJson& c) { c.model.intermediate_size = 11008; });
  expect("num_hidden_layers", [](ConfigJson& c) { c.model.num_hidden_layers = 32; });
  expect("num_attention_heads", [](ConfigJson& c) { c.model.num_attention_heads = 32; });
  expect("num_key_value_heads", [](ConfigJson& c) { c.model.num_key_value_heads = 6; });
  expect("head_dim", [](ConfigJson& c) { c.model.head_dim = 16; });
  expect("max_position_embeddings", [](ConfigJson& c) { c.model.max_position_embeddings = 2048; });
  expect("rms_norm_eps", [](ConfigJson& c) { c.model.rms_norm_eps = 1e-6; });
  expect("rope_theta", [](ConfigJson& c) { c.model.rope_theta = 10000; });
  expect("tie_word_embeddings", [](ConfigJson& c) { c.model.tie_word_embeddings = false; });
  expect("attention_bias", [](ConfigJson& c) { c.model.attention_bias = c.model.attention_output_bias = false; });
  expect("initializer_range", [](ConfigJson& c) { c.model.initializer_range = 0.02; });
  expect("bos_token_id", [](ConfigJson& c) { c.bos_token_id = 1; });
  expect("eos_token_id", [](ConfigJson& c) { c.eos_token_ids = {2}; });
  for (const char* key : {"architectures", "torch_dtype", "rope_scaling", "mlp_bias", "hidden_act", "attention_dropout",
                          "pad_token_id", "pretraining_tp", "use_cache", "_name_or_path"}) {
    expect(key, [](ConfigJson&) {});
  }
}

TEST(ConfigJson, NullIsNotAbsent) {
  EXPECT_EQ(parse(with("num_key_value_heads", nullptr)).model.num_key_value_heads, 6);
  EXPECT_EQ(parse(with("head_dim", nullptr)).model.head_dim, 16);
  EXPECT_EQ(parse(with("bos_token_id", nullptr)).bos_token_id, std::nullopt);
  EXPECT_TRUE(parse(with("eos_token_id", nullptr)).eos_token_ids.empty());
  EXPECT_EQ(parse(with("eos_token_id", 5)).eos_token_ids, std::vector<int64_t>{5});
}

TEST(ConfigJson, MistralHasOtherDefaults) {
  json file = {{"model_type", "mistral"}};
  ModelConfig expected;
  expected.vocab_size = 32000;
  expected.hidden_size = 4096;
  expected.intermediate_size = 14336;
  expected.num_hidden_layers = 32;
  expected.num_attention_heads = 32;
  expected.num_key_value_heads = 8;
  expected.head_dim = 128;
  expected.rms_norm_eps = 1e-6;
  expected.sliding_window = 4096;
  expected.max_position_embeddings = 131072;
  EXPECT_EQ(parse(file).model, expected);

  file["sliding_window"] = nullptr;
  file["num_key_value_heads"] = nullptr;
  expected.sliding_window = 0;
  expected.num_key_value_heads = 32;
  EXPECT_EQ(parse(file).model, expected);
}

TEST(ConfigJson, Qwen2HasOtherDefaults) {
  json file = {{"model_type", "qwen2"}};
  ModelConfig expected;
  expected.model_type = "qwen2";
  expected.vocab_size = 151936;
  expected.hidden_size = 4096;
  expected.intermediate_size = 22016;
  expected.num_hidden_layers = expected.num_attention_heads = expected.num_key_value_heads = 32;
  expected.head_dim = 128;
  expected.rms_norm_eps = 1e-6;
  expected.attention_bias = true;
  expected.max_position_embeddings = 32768;
  EXPECT_EQ(parse(file), (ConfigJson{expected, std::nullopt, {}}));

  // A window that is not in use is none.
  file.update({{"use_sliding_window", false}, {"sliding_window", 131072}, {"max_window_layers", 28}});
  EXPECT_EQ(parse(file).model, expected);
}

TEST(ConfigJson, RefusesWhatNoQwen2Has) {
  const auto with_qwen2 = [](const char* key, const json& value) {
    return json{{"model_type", "qwen2"}, {key, value}};
  };
  expect_refused(with_qwen2("use_sliding_window", true), "use_sliding_window is true; only layers from");
  json no_layer_has_it = with_qwen2("use_sliding_window", true);
  no_layer_has_it["max_window_layers"] = 100;
  EXPECT_EQ(parse(no_layer_has_it).model.sliding_window, 0);
  expect_refused(with_qwen2("layer_types", {"full_attention", "sliding_attention"}), "all full_attention here");
  expect_refused(with_qwen2("attention_bias", false),
                 "attention_bias is false; a qwen2 has biases on q, k and v alone");
  expect_refused(with_qwen2("mlp_bias", true), "mlp_bias is true; a qwen2 has biases on q, k and v alone");
  expect_refused(with_qwen2("architectures", {"Qwen2ForTokenClassification"}), "centavo reads Qwen2ForCausalLM");
  expect_refused(with_qwen2("num_attention_heads", 16), "16 is not a multiple of num_key_value_heads 32");
}

TEST(ConfigJson, RotaryPositionsInBothSpellings) {
  json file = without("rope_theta");
  file["rope_parameters"] = {{"rope_theta", 500000.0}, {"rope_type", "default"}};
  EXPECT_EQ(parse(file).model.rope_theta, 500000);
  file["rope_theta"] = 500000;
  EXPECT_EQ(parse(file).model.rope_theta, 500000);
  file["rope_theta"] = 20000;
  expect_refused(file, "rope_theta beside it is 20000");

  file = with("rope_parameters", {{"rope_type", "default"}});  // no theta inside: the top's
  EXPECT_EQ(parse(file).model.rope_theta, 500000);
  file.erase("rope_theta");
  EXPECT_EQ(parse(file).model.rope_theta, 10000);
  file["rope_scaling"] = {{"type", "default"}, {"rope_theta", 3.5}};  // replaces rope_parameters
  EXPECT_EQ(parse(file).model.rope_theta, 3.5);
  file["rope_scaling"] = json::object();  // empty: it does not
  file["rope_parameters"]["rope_theta"] = 77;
  EXPECT_EQ(parse(file).model.rope_theta, 77);
}

TEST(ConfigJson, RefusesWhatItCannotCompute) {
  expect_refused(with("model_type", "gemma"), "model_type is \"gemma\"; centavo reads gpt2, llama, mistral and qwen2");
  expect_refused(with("model_type", "lama"), "did you mean llama?");
  expect_refused(without("model_type"), "model_type and names no model type");
  expect_refused(with("architectures", {"LlamaForSequenceClassification"}), "centavo reads LlamaForCausalLM");
  expect_refused(with("architectures", "LlamaForCausalLM"), "architectures");
  expect_refused(with("rope_scaling", {{"rope_type", "llama3"}, {"factor", 8.0}}), "without scaling only");
  expect_refused(with("rope_scaling", {{"type", "linear"}, {"factor", 2.0}}), "without scaling only");
  expect_refused(with("rope_parameters", {{"rope_type", "yarn"}}), "rope_parameters is");
  expect_refused(with("rope_parameters", {{"full_attention", {{"rope_type", "default"}}}}), "every layer the same");
  expect_refused(with("rope_parameters", {{"partial_rotary_factor", 0.5}}), "whole heads only");
  expect_refused(with("partial_rotary_factor", 0.5), "whole heads only");
  expect_refused(with("rope_scaling", "linear"), "rope_scaling is \"linear\" and must be an object");
  expect_refused(with("hidden_act", "gelu"), "hidden_act is \"gelu\"; centavo computes silu only");
  expect_refused(with("quantization_config", {{"quant_method", "gptq"}}), "quantization_config is");
  expect_refused(with("sliding_window", 128), "a llama has none");
  expect_refused(with("layer_types", {"full_attention", "sliding_attention"}), "all full_attention here");
  EXPECT_EQ(parse(with("layer_types", {"full_attention", "full_attention"})).model, llama_model());
  json mistral = with("model_type", "mistral");
  mistral.erase("architectures");
  expect_refused(mistral, "a mistral has no biases");
}

TEST(ConfigJson, RefusesValuesThatAreNone) {
  expect_refused(std::string("{"), "is not JSON");
  expect_refused(std::string(""), "is not JSON");
  expect_refused(std::string("\xff"), "is not JSON");
  expect_refused(std::string("[1]"), "holds no object");
  for (const char* key : {"vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads",
                          "max_position_embeddings"}) {
    for (const json& bad : {json(nullptr), json("12"), json(12.0), json(true)}) {
      expect_refused(with(key, bad), fmt::format("{} is {} and must be an integer", key, json_text(bad)));
    }
    for (const json& bad : {json(0), json(-1), json(uint64_t{1} << 63)}) {
      expect_refused(with(key, bad), fmt::format("{} is {} and must lie between 1 and", key, json_text(bad)));
    }
  }
  expect_refused(with("num_key_value_heads", 7), "num_key_value_heads is 7 and must lie between 1 and 6");
  expect_refused(with("num_key_value_heads", 4), "num_attention_heads 6 is not a multiple of num_key_value_heads 4");
  expect_refused(with("head_dim", 31), "heads of 31 elements");
  expect_refused(with("head_dim", 512), "heads of 512 elements");
  json uneven = without("head_dim");
  uneven["hidden_size"] = 97;
  expect_refused(uneven, "hidden_size 97 is not a multiple of num_attention_heads 6");
  for (const char* key : {"rms_norm_eps", "rope_theta"}) {
    for (const json& bad : {json(0), json(-1.5), json("1"), json(true)}) {
      expect_refused(with(key, bad), fmt::format("{} is {} and must be a number above 0", key, json_text(bad)));
    }
  }
  expect_refused(with("tie_word_embeddings", 1), "tie_word_embeddings is 1 and must be true or false");
  expect_refused(with("attention_bias", "no"), "attention_bias is \"no\" and must be true or false");
  expect_refused(with("eos_token_id", -1), "eos_token_id is -1 and must hold token ids");
  expect_refused(with("eos_token_id", {1, "a"}), "eos_token_id is [1,\"a\"]");
  expect_refused(with("bos_token_id", {1, 2}), "must be one token id");
}

TEST(ConfigJson, ReadsBackWhatItWrites) {
  const ConfigJson config{llama_model(), 7, {8, 9}};
  const std::string text = print_config_json(config, DType::bf16);
  EXPECT_EQ(parse_config_json(text, "x"), config);
  EXPECT_EQ(print_config_json(config, DType::bf16), text);

  ConfigJson windowed{llama_model(), std::nullopt, {}};
  windowed.model.attention_bias = windowed.model.attention_output_bias = false;
  windowed.model.sliding_window = 64;
  const std::string mistral = print_config_json(windowed, DType::f32);
  EXPECT_EQ(parse_config_json(mistral, "x"), windowed);
  EXPECT_EQ(parse_json(mistral)["model_type"], "mistral");
}

TEST(ConfigJson, BiasesOnQKAndVAloneAreAQwen2) {
  ConfigJson config{llama_model(), 7, {8}};
  config.model.attention_output_bias = false;
  const std::string text = print_config_json(config, DType::bf16);
  const json file = parse_json(text);
  EXPECT_EQ(file["model_type"], "qwen2");
  EXPECT_EQ(file["architectures"], json({"Qwen2ForCausalLM"}));
  EXPECT_EQ(file["use_sliding_window"], false);
  EXPECT_FALSE(file.contains("attention_bias"));
  config.model.model_type = "qwen2";
  EXPECT_EQ(parse_config_json(text, "x"), config);
  EXPECT_EQ(print_config_json(config, DType::bf16), text);
}

TEST(ConfigJson, WritesEveryCommonKeyInBothSpellings) {
  const json file = parse_json(print_config_json({llama_model(), 7, {8}}, DType::bf16));
  for (const char* key : {"hidden_size",         "intermediate_size",
                          "num_hidden_layers",   "num_attention_heads",
                          "num_key_value_heads", "head_dim",
                          "vocab_size",          "max_position_embeddings",
                          "rms_norm_eps",        "rope_theta",
                          "rope_scaling",        "rope_parameters",
                          "hidden_act",          "tie_word_embeddings",
                          "attention_dropout",   "initializer_range",
                          "bos_token_id",        "eos_token_id",
                          "pad_token_id",        "use_cache",
                          "torch_dtype",         "dtype",
                          "transformers_version"}) {
    EXPECT_TRUE(file.contains(key)) << key;
  }
  EXPECT_EQ(file["rope_theta"], 500000.0);
  EXPECT_EQ(file["rope_parameters"], json({{"rope_type", "default"}, {"rope_theta", 500000.0}}));
  EXPECT_TRUE(file["rope_scaling"].is_null());
  EXPECT_EQ(file["dtype"], "bfloat16");
  EXPECT_EQ(file["torch_dtype"], "bfloat16");
  EXPECT_EQ(file["eos_token_id"], 8);
}

TEST(ConfigJson, RefusesToWriteWhatNoClassHolds) {
  ModelConfig model = llama_model();
  model.sliding_window = 8;
  EXPECT_THROW(print_config_json({model, {}, {}}, DType::f32), UserError);
  model = llama_model();
  model.hidden_size = 98;
  EXPECT_THROW(require_exportable(model), UserError);
  EXPECT_EQ(family_of(model), HfFamily::llama);
  model.hidden_size = 96;
  require_exportable(model);
  model.mlp_bias = true;
  require_exportable(model);
  model.attention_output_bias = false;
  EXPECT_NE(why_not_exportable(model).find("mlp_bias and attention_bias without"), std::string::npos);
  model.mlp_bias = false;
  require_exportable(model);
  model.sliding_window = 8;
  EXPECT_NE(why_not_exportable(model).find("both attention_bias and a sliding window of 8"), std::string::npos);
  model.sliding_window = 0;
  model.attention_bias = false;
  model.attention_output_bias = true;
  EXPECT_NE(why_not_exportable(model).find("attention_output_bias without attention_bias"), std::string::npos);

  const auto why = [](const auto& change) {
    ModelConfig changed = gpt2_model();
    change(changed);
    return why_not_exportable(changed);
  };
  EXPECT_EQ(why([](ModelConfig&) {}), "");
  EXPECT_EQ(family_of(gpt2_model()), HfFamily::gpt2);
  EXPECT_NE(why([](ModelConfig& c) {
              c.positions = "rope";
            }).find("no Hugging Face model has layernorm, gelu and rope positions together"),
            std::string::npos);
  EXPECT_NE(why([](ModelConfig& c) { c.norm = "rmsnorm"; }), "");
  EXPECT_NE(why([](ModelConfig& c) { c.activation = "swiglu"; }), "");
  for (const auto& change : std::vector<std::function<void(ModelConfig&)>>{
           [](ModelConfig& c) { c.attention_bias = false; }, [](ModelConfig& c) { c.attention_output_bias = false; },
           [](ModelConfig& c) { c.mlp_bias = false; }, [](ModelConfig& c) { c.num_key_value_heads = 2; },
           [](ModelConfig& c) { c.head_dim = 16; }, [](ModelConfig& c) { c.sliding_window = 4; }}) {
    EXPECT_NE(why(change).find("Hugging Face's GPT-2 has attention_bias, attention_output_bias and mlp_bias"),
              std::string::npos);
  }
}

TEST(ConfigJson, ALlamaMayHaveBiasesInItsFeedForward) {
  EXPECT_TRUE(parse(with("mlp_bias", true)).model.mlp_bias);
  ModelConfig model = llama_model();
  model.mlp_bias = true;
  EXPECT_EQ(parse_config_json(print_config_json({model, {}, {}}, DType::f32), "x").model, model);
}

}  // namespace
}  // namespace centavo
