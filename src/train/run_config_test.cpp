#include "train/run_config.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "base/errors.h"
#include "base/files.h"
#include "train/run_config_keys.h"

namespace centavo {
namespace {

constexpr const char* kMinimal = R"(max_steps = 10
seq_len = 32
micro_batch = 2
learning_rate = 1e-3

[model]
vocab_size = 256
hidden_size = 64
intermediate_size = 128
num_hidden_layers = 2
num_attention_heads = 4
)";

RunConfig parse(const std::string& toml, const std::vector<std::string>& overrides = {}) {
  return parse_run_config_text(toml, "configs/runs/tiny.toml", overrides);
}

void expect_error(const std::string& toml, const std::vector<std::string>& overrides, const std::string& message) {
  try {
    parse(toml, overrides);
    ADD_FAILURE() << "accepted, expected: " << message;
  } catch (const UserError& error) {
    EXPECT_EQ(error.what(), message);
  }
}

void expect_override_error(const std::string& text, const std::string& why) {
  expect_error(kMinimal, {text}, fmt::format("override '{}': {}", text, why));
}

TEST(RunConfig, MinimalFileGetsEveryDefault) {
  const RunConfig config = parse(kMinimal);
  RunConfig expected;
  expected.out = "runs/tiny";
  expected.max_steps = 10;
  expected.seq_len = 32;
  expected.micro_batch = 2;
  expected.learning_rate = 1e-3;
  expected.model.vocab_size = 256;
  expected.model.hidden_size = 64;
  expected.model.intermediate_size = 128;
  expected.model.num_hidden_layers = 2;
  expected.model.num_attention_heads = 4;
  expected.model.num_key_value_heads = 4;
  expected.model.head_dim = 16;
  expected.model.max_position_embeddings = 32;
  EXPECT_EQ(config, expected);
}

TEST(RunConfig, OverridesWinInOrder) {
  const RunConfig config =
      parse(kMinimal, {"model.hidden_size=96", "learning_rate=1", "seq_len=1_000", "model.tie_word_embeddings=true",
                       "sample_prompt=a=b \"c\" ", "seed=1", "seed=2", "schedule=linear", "out="});
  EXPECT_EQ(config.model.hidden_size, 96);
  EXPECT_EQ(config.model.head_dim, 24);
  EXPECT_EQ(config.learning_rate, 1.0);
  EXPECT_EQ(config.seq_len, 1000);
  EXPECT_EQ(config.model.max_position_embeddings, 1000);
  EXPECT_TRUE(config.model.tie_word_embeddings);
  EXPECT_EQ(config.sample_prompt, "a=b \"c\" ");
  EXPECT_EQ(config.seed, 2);
  EXPECT_EQ(config.schedule, "linear");
  EXPECT_EQ(config.out, "runs/tiny");
}

TEST(RunConfig, PrintsEveryKeyAndParsesBack) {
  const RunConfig config =
      parse(kMinimal, {"sample_prompt=tab\t quote\" back\\ new\nline \x7f ü", "learning_rate=0.1", "eps=1e-300",
                       "model.rope_theta=500000", "weight_decay=0.30000000000000004", "text=", "model.head_dim=10"});
  const std::string text = print(config);
  EXPECT_EQ(parse(text), config);
  EXPECT_EQ(print(parse(text)), text);
  EXPECT_NE(text.find("\nlearning_rate = 0.1\n"), std::string::npos) << text;
  EXPECT_NE(text.find("\nclip_norm = 1.0\n"), std::string::npos) << text;
  EXPECT_NE(text.find("\n\n[model]\nmodel_type = \"llama\"\n"), std::string::npos) << text;
  EXPECT_NE(text.find(R"(sample_prompt = "tab\u0009 quote\" back\\ new\u000aline \u007f ü")"), std::string::npos);
}

// A field of the structs that the table of keys forgets would be lost by print.
TEST(RunConfig, TheTableKnowsEveryField) {
  RunConfig config = parse(kMinimal);
  for (const Key& key : run_config_keys()) {
    RunConfig changed = config;
    const Value value = value_of(config, key);
    set_value(changed, key,
              std::visit(
                  [](const auto& v) -> Value {
                    using T = std::decay_t<decltype(v)>;
                    if constexpr (std::is_same_v<T, std::string>)
                      return v + "x";
                    else if constexpr (std::is_same_v<T, bool>)
                      return !v;
                    else
                      return v + 1;
                  },
                  value));
    EXPECT_EQ(differing_keys(config, changed), std::vector<std::string>{key.name});
    EXPECT_NE(changed, config) << key.name;
  }
  constexpr size_t kTextBytes = 14 * sizeof(std::string);
  constexpr size_t kNumberBytes = (17 + 10) * sizeof(int64_t);
  constexpr size_t kFlagBytes = sizeof(int64_t);  // one, and what aligns the next field
  EXPECT_EQ(sizeof(RunConfig) - sizeof(ModelConfig), kTextBytes + kNumberBytes + kFlagBytes)
      << "a field without a key?";
  EXPECT_EQ(sizeof(ModelConfig), 4 * sizeof(std::string) + (9 + 4) * sizeof(int64_t) + 8) << "a field without a key?";
}

TEST(RunConfig, TheDefaultsOfGpt2) {
  const ModelConfig model = parse(kMinimal, {"model.model_type=gpt2"}).model;
  EXPECT_EQ(model.norm, "layernorm");
  EXPECT_EQ(model.activation, "gelu");
  EXPECT_EQ(model.positions, "learned");
  EXPECT_TRUE(model.tie_word_embeddings && model.attention_bias && model.attention_output_bias && model.mlp_bias);
  const ModelConfig mixed =
      parse(kMinimal, {"model.model_type=gpt2", "model.positions=rope", "model.mlp_bias=false"}).model;
  EXPECT_EQ(mixed.norm, "layernorm");
  EXPECT_EQ(mixed.positions, "rope");
  EXPECT_FALSE(mixed.mlp_bias);
}

TEST(RunConfig, TheDefaultsOfQwen2) {
  const RunConfig config = parse(kMinimal, {"model.model_type=qwen2"});
  ModelConfig expected = parse(kMinimal).model;
  expected.model_type = "qwen2";
  expected.attention_bias = true;
  EXPECT_EQ(config.model, expected);
  EXPECT_EQ(parse(print(config)), config);
  EXPECT_FALSE(parse(kMinimal, {"model.model_type=qwen2", "model.attention_bias=false"}).model.attention_bias);
}

TEST(RunConfig, TheOutputHasABiasWithTheRestUnlessSaidOtherwise) {
  const auto has = [](const std::vector<std::string>& overrides) {
    return parse(kMinimal, overrides).model.attention_output_bias;
  };
  EXPECT_FALSE(has({}));
  EXPECT_TRUE(has({"model.attention_bias=true"}));
  EXPECT_FALSE(has({"model.attention_bias=true", "model.attention_output_bias=false"}));
  EXPECT_FALSE(has({"model.model_type=gpt2", "model.attention_bias=false"}));
  EXPECT_TRUE(has({"model.model_type=qwen2", "model.attention_output_bias=true"}));
  EXPECT_TRUE(has({"model.attention_output_bias=true"}));
}

TEST(RunConfig, LearnedPositionsEndWithTheirTable) {
  expect_error(kMinimal, {"model.positions=learned", "model.max_position_embeddings=16"},
               "override 'model.max_position_embeddings=16': model.max_position_embeddings 16 is below seq_len 32: "
               "raise it or lower seq_len");
}

TEST(RunConfig, DifferingKeysInTheOrderOfTheTable) {
  const RunConfig a = parse(kMinimal);
  EXPECT_TRUE(differing_keys(a, a).empty());
  const RunConfig b = parse(kMinimal, {"model.attention_bias=true", "learning_rate=2e-3", "threads=1"});
  EXPECT_EQ(differing_keys(a, b), (std::vector<std::string>{"learning_rate", "threads", "model.attention_bias",
                                                            "model.attention_output_bias"}));
}

TEST(RunConfig, HelpNamesEveryKeyAndDefault) {
  const std::string help = run_config_help();
  for (const Key& key : run_config_keys()) EXPECT_NE(help.find(key.name), std::string::npos) << key.name;
  EXPECT_NE(help.find("(constant, linear, cosine, wsd); default \"cosine\"\n"), std::string::npos) << help;
  EXPECT_NE(help.find("steps of the whole run; required\n"), std::string::npos) << help;
  EXPECT_NE(help.find("default hidden_size / num_attention_heads\n"), std::string::npos) << help;
}

TEST(RunConfig, Devices) {
  EXPECT_EQ(parse(kMinimal).device, "auto");
  EXPECT_FALSE(parse(kMinimal).deterministic);
  const RunConfig config = parse(kMinimal, {"device=cuda", "deterministic=true"});
  EXPECT_EQ(config.device, "cuda");
  EXPECT_TRUE(config.deterministic);
  EXPECT_EQ(parse(print(config)), config);
  EXPECT_EQ(differing_keys(config, parse(kMinimal)), (std::vector<std::string>{"device", "deterministic"}));
  for (const char* key : {"device", "deterministic"}) {
    EXPECT_EQ(std::ranges::count(keys_free_on_resume(), key), 1) << key;
  }
  expect_override_error("device=gpu", "device must be one of cpu, cuda, auto, did you mean cpu?");
  expect_override_error("deterministic=1", "deterministic must be true or false");
}

TEST(RunConfig, UnknownKeys) {
  const std::string where = "configs/runs/tiny.toml:12: ";
  const std::string model = std::string(kMinimal);
  expect_error(model + "hiden_size = 3\n", {}, where + "unknown key model.hiden_size, did you mean model.hidden_size?");
  expect_error(model + "seq_len = 3\n", {}, where + "unknown key model.seq_len, did you mean seq_len?");
  expect_error("lr = 3\n" + model, {}, "configs/runs/tiny.toml:1: unknown key lr; remove it");
  expect_error("head_dim = 8\n" + model, {},
               "configs/runs/tiny.toml:1: unknown key head_dim, did you mean model.head_dim?");
  expect_error(model + "[optimizer]\n", {}, where + "unknown table optimizer; remove it");
  expect_error("\"model.hidden_size\" = 3\n" + model, {},
               "configs/runs/tiny.toml:1: unknown key model.hidden_size; remove the quotes");
  expect_error("model = 3\n", {}, "configs/runs/tiny.toml:1: model must be a table: write [model]");
  expect_override_error("learning_rat=1", "unknown key learning_rat, did you mean learning_rate?");
  expect_override_error("hidden_size=1", "unknown key hidden_size, did you mean model.hidden_size?");
  expect_override_error("seed", "write it as key=value");
}

TEST(RunConfig, IllTypedValues) {
  expect_error(std::string("seed = 1.5\n") + kMinimal, {}, "configs/runs/tiny.toml:1: seed must be an integer");
  expect_error(std::string("text = 3\n") + kMinimal, {}, "configs/runs/tiny.toml:1: text must be a text");
  expect_error(std::string("beta1 = \"0.9\"\n") + kMinimal, {}, "configs/runs/tiny.toml:1: beta1 must be a number");
  expect_error(std::string("beta1 = [0.9]\n") + kMinimal, {}, "configs/runs/tiny.toml:1: beta1 must be a number");
  expect_error(std::string("beta1 = 1979-05-27\n") + kMinimal, {}, "configs/runs/tiny.toml:1: beta1 must be a number");
  expect_override_error("model.attention_bias=1", "model.attention_bias must be true or false");
  expect_override_error("seed=", "seed must be an integer");
  expect_override_error("seed=true", "seed must be an integer");
  expect_override_error("seed=99999999999999999999", "seed must be an integer");
  expect_override_error("seed=1\nw=2", "seed must be an integer");
  expect_override_error("learning_rate=fast", "learning_rate must be a number");
  expect_override_error("text=\xff", "text must be a text in UTF-8");
}

TEST(RunConfig, ValuesOutOfRange) {
  expect_override_error("learning_rate=-1e-3", "learning_rate must be at least 0");
  expect_override_error("learning_rate=nan", "learning_rate must be finite");
  expect_override_error("learning_rate=inf", "learning_rate must be finite");
  expect_override_error("model.hidden_size=0", "model.hidden_size must be at least 1");
  expect_override_error("model.hidden_size=-64", "model.hidden_size must be at least 1");
  expect_override_error("model.vocab_size=2147483648", "model.vocab_size must be at most 2147483647");
  expect_override_error("beta2=1", "beta2 must be below 1");
  expect_override_error("eps=0", "eps must be above 0");
  expect_override_error("min_lr_ratio=1.5", "min_lr_ratio must be at most 1");
  expect_override_error("validation_fraction=1.0", "validation_fraction must be below 1");
  expect_override_error("seed=-1", "seed must be at least 0");
  expect_override_error("precision=bf17", "precision must be one of fp32, bf16, bf16-stochastic, did you mean bf16?");
  expect_override_error("schedule=step", "schedule must be one of constant, linear, cosine, wsd");
  EXPECT_EQ(parse(kMinimal, {"learning_rate=0"}).learning_rate, 0.0);
  EXPECT_EQ(parse(kMinimal, {"max_steps=9007199254740992"}).max_steps, 9007199254740992);
}

TEST(RunConfig, ShapesThatDoNotFit) {
  const std::string file = "configs/runs/tiny.toml:";
  expect_error(kMinimal, {"model.num_attention_heads=3"},
               file +
                   "8: model.hidden_size 64 is not a multiple of model.num_attention_heads 3: change one or give "
                   "model.head_dim");
  EXPECT_EQ(parse(kMinimal, {"model.num_attention_heads=3", "model.head_dim=20"}).model.head_dim, 20);
  expect_error(kMinimal, {"model.num_key_value_heads=3"},
               "override 'model.num_key_value_heads=3': model.num_attention_heads 4 is not a multiple of "
               "model.num_key_value_heads 3: change one");
  expect_error(kMinimal, {"model.head_dim=7"},
               "override 'model.head_dim=7': model.head_dim 7 is odd, rotary positions need pairs: give an even one, "
               "or another model.hidden_size");
  EXPECT_EQ(parse(kMinimal, {"model.head_dim=7", "model.positions=learned"}).model.head_dim, 7);
  expect_error(kMinimal, {"model.hidden_size=20"},
               file +
                   " model.head_dim 5 is odd, rotary positions need pairs: give an even one, or another "
                   "model.hidden_size");
  expect_error(kMinimal, {"model.max_position_embeddings=16"},
               "override 'model.max_position_embeddings=16': model.max_position_embeddings 16 is below seq_len 32: "
               "raise it or lower seq_len");
  expect_error(kMinimal, {"validation_fraction=0"},
               "override 'validation_fraction=0': validation_fraction 0 leaves nothing to validate: raise it or set "
               "validation_every = 0");
  EXPECT_EQ(parse(kMinimal, {"validation_fraction=0", "validation_every=0"}).validation_fraction, 0.0);
}

TEST(RunConfig, EveryRequiredKeyIsMissed) {
  for (const Key& key : run_config_keys()) {
    if (key.given != Given::required) continue;
    std::string toml = kMinimal;
    const std::string name = key.name.substr(key.name.find('.') + 1);
    const size_t line = toml.find(name + " = ");
    toml.erase(line, toml.find('\n', line) - line + 1);
    expect_error(
        toml, {},
        fmt::format("configs/runs/tiny.toml: {} is missing: give {}, {}", key.name, type_in_words(key), key.help));
  }
}

TEST(RunConfig, SyntaxErrorsNameTheLine) {
  for (const char* broken : {"\n\nseed = \n", "seed = 1\n\nseed = 2\n", "\n\n[model\n"}) {
    try {
      parse(broken);
      ADD_FAILURE() << broken;
    } catch (const UserError& error) {
      EXPECT_TRUE(std::string(error.what()).starts_with("configs/runs/tiny.toml:3: this is not TOML: "))
          << error.what();
    }
  }
}

// The TOML reader decodes ahead, so the line it gives for broken UTF-8 may be an earlier one.
TEST(RunConfig, RefusesBrokenUtf8) { EXPECT_THROW(parse(std::string(kMinimal) + "\n# \xff\n"), UserError); }

TEST(RunConfig, ReadsAFile) {
  const std::string path = ::testing::TempDir() + fmt::format("run_config_test.{}.toml", ::getpid());
  write_file_atomic(path, kMinimal);
  const RunConfig config = parse_run_config(path, {"seed=5"});
  EXPECT_EQ(config.seed, 5);
  EXPECT_EQ(config.out, fmt::format("runs/run_config_test.{}", ::getpid()));
  std::filesystem::remove(path);
  EXPECT_THROW(parse_run_config(path, {}), UserError);
}

}  // namespace
}  // namespace centavo
