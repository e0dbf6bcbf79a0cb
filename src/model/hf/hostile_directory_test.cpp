// Model directories that are damaged or not what they say.
#include <gtest/gtest.h>

#include <filesystem>

#include "base/errors.h"
#include "base/files.h"
#include "base/json.h"
#include "model/hf/model_directory.h"
#include "tests/support/exported_models.h"
#include "tests/support/models.h"

namespace centavo::testing {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

// A small model on disk whose tensors and configuration a test may spoil before it is written again.
class Hostile : public ::testing::Test {
 protected:
  void SetUp() override {
    directory_ = fresh_directory("hostile") + "/m";
    export_model(*machine_of(model_, "fp32", 1), model_, kTokenizer, directory_);
    const SafetensorsFile file(directory_ + "/model.safetensors");
    for (const TensorView& tensor : file.tensors()) {
      tensors_.push_back(tensor);
      data_.emplace_back(tensor.bytes.begin(), tensor.bytes.end());
    }
    for (size_t i = 0; i < tensors_.size(); ++i) tensors_[i].bytes = data_[i];
  }

  TensorView& tensor(const std::string& name) { return *std::ranges::find(tensors_, name, &TensorView::name); }
  void write() { write_safetensors(directory_ + "/model.safetensors", tensors_, {}); }
  void write_config(const std::string& key, const json& value) {
    json config = parse_json(read_file(directory_ + "/config.json"));
    config[key] = value;
    write_file_atomic(directory_ + "/config.json", json_text(config));
  }

  // Two shards and their index.
  json write_shards() {
    fs::remove(directory_ + "/model.safetensors");
    json index = {{"metadata", {{"total_size", 1}}}};
    const size_t half = tensors_.size() / 2;
    const std::span<const TensorView> all(tensors_);
    write_safetensors(directory_ + "/a.safetensors", all.first(half), {});
    write_safetensors(directory_ + "/b.safetensors", all.subspan(half), {});
    for (size_t i = 0; i < all.size(); ++i) {
      index["weight_map"][all[i].name] = i < half ? "a.safetensors" : "b.safetensors";
    }
    write_index(index);
    return index;
  }
  void write_index(const json& index) {
    write_file_atomic(directory_ + "/model.safetensors.index.json", json_text(index));
  }

  void expect_refused(const std::string& why) {
    try {
      open_model(directory_);
      ADD_FAILURE() << "accepted, expected: " << why;
    } catch (const UserError& error) {
      EXPECT_NE(std::string(error.what()).find(why), std::string::npos) << error.what();
      EXPECT_NE(std::string(error.what()).find(directory_), std::string::npos) << error.what();
    }
  }

  const ModelConfig model_ = small_model(false, Kind::llama);
  std::string directory_;
  std::vector<std::vector<std::byte>> data_;
  std::vector<TensorView> tensors_;
};

TEST_F(Hostile, MissingFiles) {
  fs::remove(directory_ + "/model.safetensors");
  expect_refused("holds neither model.safetensors nor model.safetensors.index.json; name the directory");
  write_file_atomic(directory_ + "/pytorch_model.bin", "x");
  expect_refused("can run code");
  fs::remove(directory_ + "/config.json");
  expect_refused("holds no config.json");
  fs::remove_all(directory_);
  expect_refused("is not a directory");
}

TEST_F(Hostile, MissingAndUnexpectedTensors) {
  const TensorView taken = tensor("model.layers.1.mlp.up_proj.weight");
  std::erase_if(tensors_, [&](const TensorView& t) { return t.name == taken.name; });
  write();
  expect_refused("tensor model.layers.1.mlp.up_proj.weight of shape [40, 32] is missing");
  tensors_.push_back(taken);
  tensors_.push_back(taken);
  tensors_.back().name = "model.layers.1.mlp.up_proj.wait";
  write();
  expect_refused("tensor model.layers.1.mlp.up_proj.wait is not part of the model");
  tensors_.back().name = "model.layers.1.self_attn.rotary_emb.inv_freq";
  write();
  EXPECT_NO_THROW(open_model(directory_));
}

TEST_F(Hostile, OtherLayersThanTheFileHas) {
  write_config("num_hidden_layers", 3);
  expect_refused("tensor model.layers.2.input_layernorm.weight of shape [32] is missing");
  write_config("num_hidden_layers", 1);
  expect_refused("tensor model.layers.1.");
  write_config("num_hidden_layers", 2);
  write_config("attention_bias", true);
  expect_refused("tensor model.layers.0.self_attn.q_proj.bias of shape [32] is missing");
}

TEST_F(Hostile, WrongShapeOrDtype) {
  tensor("model.norm.weight").shape = {4, 8};
  write();
  expect_refused("tensor model.norm.weight has shape [4, 8] where config.json says [32]");
  tensor("model.norm.weight").shape = {32};
  tensor("model.norm.weight").dtype = DType::i32;
  write();
  expect_refused("tensor model.norm.weight holds i32");
}

TEST_F(Hostile, HalfPrecisionIsNamed) {
  std::string bytes = read_file(directory_ + "/model.safetensors");
  const size_t at = bytes.find("\"F32\"");
  bytes.replace(at, 5, "\"F16\"");
  write_file_atomic(directory_ + "/model.safetensors", bytes);
  expect_refused("has dtype F16");
}

TEST_F(Hostile, ATiedHeadMustBeTheEmbedding) {
  write_config("tie_word_embeddings", true);
  expect_refused("lm_head.weight differs from model.embed_tokens.weight");
  tensor("lm_head.weight").bytes = tensor("model.embed_tokens.weight").bytes;
  write();
  EXPECT_TRUE(open_model(directory_).config.model.tie_word_embeddings);
  write_config("tie_word_embeddings", false);
  std::erase_if(tensors_, [](const TensorView& t) { return t.name == "lm_head.weight"; });
  write();
  expect_refused("or set tie_word_embeddings in config.json");
}

TEST_F(Hostile, ShardsReadAsOne) {
  const auto whole = machine_of(model_, "fp32", 2);
  load_parameters(*whole, open_model(directory_));
  write_shards();
  const auto sharded = machine_of(model_, "fp32", 3);
  load_parameters(*sharded, open_model(directory_));
  EXPECT_EQ(parameters_of(*sharded), parameters_of(*whole));
}

TEST_F(Hostile, ShardsThatDoNotFitTheirIndex) {
  const json good = write_shards();
  json index = good;
  for (const char* name : {"", "..", "../a.safetensors", "/etc/passwd", "x/a.safetensors"}) {
    index["weight_map"]["model.norm.weight"] = name;
    write_index(index);
    expect_refused("is not the name of a file beside it");
  }
  for (json& file : index["weight_map"]) file = "c.safetensors";
  write_index(index);
  expect_refused("c.safetensors");
  index = good;
  index["weight_map"]["model.norm.weight"] = 3;
  write_index(index);
  expect_refused("is not an index of shards");
  index = good;
  index["weight_map"].erase("model.norm.weight");
  write_index(index);
  expect_refused("does not say that");
  index = good;
  index["weight_map"]["model.extra.weight"] = "a.safetensors";
  write_index(index);
  expect_refused("lacks model.extra.weight");
  write_index(json::object());
  expect_refused("is not an index of shards");
  write_index({{"weight_map", json::object()}});
  expect_refused("names no tensor");
}

TEST_F(Hostile, TheSameTensorInTwoShards) {
  json index = write_shards();
  write_safetensors(directory_ + "/b.safetensors", tensors_, {});
  expect_refused("stands in another shard too");
}

}  // namespace
}  // namespace centavo::testing
