#include "model/hf/model_directory.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

#include "base/errors.h"
#include "base/json.h"
#include "base/rng.h"
#include "model/hf/gpt2_tensors.h"
#include "model/hf/llama_tensors.h"
#include "model/initialize.h"
#include "model/programs.h"
#include "passes/precision.h"
#include "tests/support/exported_models.h"
#include "tests/support/models.h"
#include "tests/support/op_check.h"

namespace centavo::testing {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

struct Variant {
  bool tied;
  Kind kind;
  std::string policy;
};

std::vector<Variant> variants() {
  std::vector<Variant> all;
  for (const bool tied : {false, true}) {
    for (const Kind kind : {Kind::llama, Kind::llama_with_biases, Kind::qwen2, Kind::gpt2}) {
      for (const char* policy : {"fp32", "bf16"}) all.push_back({tied, kind, policy});
    }
  }
  return all;
}

TEST(TensorPieces, TileEveryParameterOnce) {
  for (const Variant& v : variants()) {
    const ModelConfig model = small_model(v.tied, v.kind);
    const Program program = decoding(test_ops(), model, 1, 1, 8);
    std::map<std::string, int64_t> rows;
    std::set<std::string> names;
    for (const TensorPiece& piece : tensor_pieces(model)) {
      EXPECT_EQ(piece.first_row, rows[piece.parameter]) << piece.tensor;
      Shape shape = piece.shape;
      if (piece.transposed) std::swap(shape[0], shape[1]);
      rows[piece.parameter] += shape[0];
      EXPECT_TRUE(names.insert(piece.tensor).second) << piece.tensor;
      const BufferId id = program.find(piece.parameter);
      ASSERT_NE(id, kNone) << piece.parameter;
      const Shape& whole = program.buffer(id).shape;
      EXPECT_EQ(Shape(shape.begin() + 1, shape.end()), Shape(whole.begin() + 1, whole.end()));
    }
    for (const Buffer& b : program.buffers) {
      if (b.kind != BufferKind::parameter) continue;
      EXPECT_EQ(rows[b.name], b.shape[0]) << b.name;
    }
  }
}

TEST(LlamaTensors, RowsByHand) {
  // 4 query and 2 key/value heads of 8, width 32, feed-forward 40.
  const auto pieces = llama_tensors(small_model(true, Kind::llama_with_biases));
  const auto at = [&](const std::string& name) {
    return *std::ranges::find(pieces, "model.layers.1." + name, &TensorPiece::tensor);
  };
  EXPECT_EQ(at("self_attn.v_proj.weight").first_row, 48);
  EXPECT_EQ(at("self_attn.v_proj.weight").first_element(), 48 * 32);
  EXPECT_EQ(at("self_attn.k_proj.bias").first_element(), 32);
  EXPECT_EQ(at("mlp.up_proj.weight").first_row, 40);
  EXPECT_EQ(at("mlp.up_proj.weight").parameter, "layers.1.gate_up.weight");
  EXPECT_EQ(at("self_attn.o_proj.bias").shape, Shape{32});
}

TEST(LlamaTensors, Qwen2HasBiasesOnQKAndVAlone) {
  std::vector<std::string> vectors;
  for (const TensorPiece& piece : llama_tensors(small_model(true, Kind::qwen2))) {
    if (piece.tensor.starts_with("model.layers.0.") && piece.shape.size() == 1) vectors.push_back(piece.tensor);
  }
  const std::string layer = "model.layers.0.";
  EXPECT_EQ(vectors, (std::vector<std::string>{layer + "input_layernorm.weight", layer + "self_attn.q_proj.bias",
                                               layer + "self_attn.k_proj.bias", layer + "self_attn.v_proj.bias",
                                               layer + "post_attention_layernorm.weight"}));
}

TEST(ModelDirectory, ExportAndLoadKeepEveryBit) {
  for (const Variant& v : variants()) {
    const ModelConfig model = small_model(v.tied, v.kind);
    const std::string directory = fresh_directory("model") + "/m";
    const auto trained = machine_of(model, v.policy, 1);
    export_model(*trained, model, kTokenizer, directory);

    const ModelDirectory opened = open_model(directory);
    EXPECT_EQ(opened.config.model, model);
    EXPECT_EQ(opened.config.bos_token_id, 60);
    EXPECT_EQ(opened.config.eos_token_ids, std::vector<int64_t>{60});
    EXPECT_EQ(opened.precision, v.policy);
    EXPECT_EQ(opened.tensors.contains("lm_head.weight"), !v.tied);
    const auto loaded = machine_of(model, v.policy, 2);
    EXPECT_NE(parameters_of(*loaded), parameters_of(*trained));
    load_parameters(*loaded, opened);
    EXPECT_EQ(parameters_of(*loaded), parameters_of(*trained));
  }
}

TEST(ModelDirectory, EveryFileOfAnExport) {
  const std::string directory = fresh_directory("model") + "/m/";
  const ModelConfig model = small_model(true, Kind::llama);
  const auto machine = machine_of(model, "fp32", 1);
  export_model(*machine, model, kTokenizer, directory);
  EXPECT_EQ(read_file(directory + "tokenizer.json"), kTokenizer.json);
  const json tokenizer = parse_json(read_file(directory + "tokenizer_config.json"));
  EXPECT_EQ(tokenizer["tokenizer_class"], "PreTrainedTokenizerFast");
  EXPECT_EQ(tokenizer["eos_token"], "<|endoftext|>");
  EXPECT_EQ(tokenizer["model_max_length"], 64);
  EXPECT_EQ(parse_json(read_file(directory + "generation_config.json"))["eos_token_id"], 60);
  EXPECT_NE(read_file(directory + "README.md").find("| context | 64 tokens |"), std::string::npos);

  // The same parameters give the same bytes, over an earlier export too; nothing is left beside it.
  const std::string weights = read_file(directory + "model.safetensors");
  export_model(*machine, model, kTokenizer, directory);
  EXPECT_EQ(read_file(directory + "model.safetensors"), weights);
  EXPECT_EQ(std::distance(fs::directory_iterator(directory), {}), 6);
  EXPECT_EQ(std::distance(fs::directory_iterator(fs::path(directory).parent_path().parent_path()), {}), 1);
}

TEST(ModelDirectory, AnExportTouchesNothingElse) {
  const std::string directory = fresh_directory("model");
  const ModelConfig model = small_model(true, Kind::llama);
  const auto machine = machine_of(model, "fp32", 1);
  write_file_atomic(directory + "/thesis.txt", "ten years");
  EXPECT_THROW(export_model(*machine, model, kTokenizer, directory), UserError);
  EXPECT_THROW(export_model(*machine, model, kTokenizer, directory + "/thesis.txt"), UserError);
  EXPECT_EQ(read_file(directory + "/thesis.txt"), "ten years");
  EXPECT_EQ(std::distance(fs::directory_iterator(directory), {}), 1);

  // What an interrupted export left is its own.
  make_directories(directory + "/m.export.tmp");
  write_file_atomic(directory + "/m.export.tmp/model.safetensors.77.0.tmp", "half");
  export_model(*machine, model, kTokenizer, directory + "/m");
  EXPECT_FALSE(fs::exists(directory + "/m.export.tmp"));
  EXPECT_TRUE(fs::exists(directory + "/m/config.json"));
}

TEST(ModelDirectory, ConvertsBetweenF32AndBf16) {
  const ModelConfig model = small_model(false, Kind::llama_with_biases);
  const std::string directory = fresh_directory("model") + "/m";
  const auto f32 = machine_of(model, "fp32", 1);
  export_model(*f32, model, kTokenizer, directory);
  const auto bf16_machine = machine_of(model, "bf16", 2);
  load_parameters(*bf16_machine, open_model(directory));
  for (const auto& [name, values] : parameters_of(*f32)) {
    std::vector<double> rounded;
    for (const double value : values) rounded.push_back(static_cast<float>(bf16(static_cast<float>(value))));
    EXPECT_EQ(get_tensor(*bf16_machine, name), rounded) << name;
  }
}

// Norms are f32 in a run of bf16 matrices.
TEST(ModelDirectory, AnExportHasOneDtype) {
  const ModelConfig model = small_model(false, Kind::gpt2);
  const std::string directory = fresh_directory("model") + "/m";
  const auto trained = machine_of(model, "bf16", 1);
  const std::string weight = "layers.1.mlp_norm.weight";
  const auto elements = static_cast<size_t>(model.hidden_size);
  const double between = 1 + 0x1p-9;  // no bf16
  set_tensor(*trained, weight, std::vector<double>(elements, between));
  ASSERT_EQ(get_tensor(*trained, weight), std::vector<double>(elements, between));
  export_model(*trained, model, kTokenizer, directory);
  for (const auto& [name, tensor] : open_model(directory).tensors) EXPECT_EQ(tensor.dtype, DType::bf16) << name;
  const auto read = machine_of(model, "bf16", 2);
  load_parameters(*read, open_model(directory));
  EXPECT_EQ(get_tensor(*read, weight), std::vector<double>(elements, 1));
}

// GPT-2's own files have no prefix, and masks beside the weights.
TEST(ModelDirectory, Gpt2WithoutItsPrefix) {
  const ModelConfig model = small_model(true, Kind::gpt2);
  const std::string directory = fresh_directory("model") + "/m";
  const auto trained = machine_of(model, "fp32", 1);
  export_model(*trained, model, kTokenizer, directory);
  const std::string path = directory + "/model.safetensors";
  const std::vector<float> mask(4, 1.0F);
  {
    const SafetensorsFile file(path);
    std::vector<TensorView> tensors = file.tensors();
    for (TensorView& tensor : tensors) tensor.name = tensor.name.substr(std::string(kGpt2Prefix).size());
    tensors.push_back({"h.0.attn.bias", DType::f32, {1, 1, 2, 2}, std::as_bytes(std::span(mask))});
    tensors.push_back({"h.1.attn.masked_bias", DType::f32, {}, std::as_bytes(std::span(mask).first(1))});
    write_safetensors(directory + "/renamed", tensors, {});
  }
  fs::rename(directory + "/renamed", path);
  const auto loaded = machine_of(model, "fp32", 2);
  load_parameters(*loaded, open_model(directory));
  EXPECT_EQ(parameters_of(*loaded), parameters_of(*trained));
}

TEST(ModelDirectory, AModelThatNoFamilyHoldsIsNotExported) {
  ModelConfig model = small_model(true, Kind::gpt2);
  model.positions = "rope";
  const std::string directory = fresh_directory("model") + "/m";
  EXPECT_THROW(export_model(*machine_of(model, "fp32", 1), model, kTokenizer, directory), UserError);
  EXPECT_FALSE(fs::exists(directory));
}

// Not to be written, since their classes refuse such a hidden_size; but there are such files.
TEST(ModelDirectory, HeadsMayBeWiderThanTheModel) {
  const json llama = {{"model_type", "llama"},    {"vocab_size", 61},       {"hidden_size", 24},
                      {"intermediate_size", 40},  {"num_hidden_layers", 1}, {"num_attention_heads", 5},
                      {"num_key_value_heads", 5}, {"head_dim", 8},          {"tie_word_embeddings", true}};
  json mistral = llama;
  mistral["model_type"] = "mistral";
  mistral["sliding_window"] = 8;
  for (const json& file : {llama, mistral}) {
    const ModelConfig model = parse_config_json(json_text(file), "config.json").model;
    const std::string directory = fresh_directory("model");
    write_file_atomic(directory + "/config.json", json_text(file));
    const std::vector<std::byte> zeros(61 * 24 * sizeof(float));
    std::vector<TensorView> tensors;
    for (const TensorPiece& piece : llama_tensors(model)) {
      const auto size = static_cast<size_t>(element_count(piece.shape)) * sizeof(float);
      tensors.push_back({piece.tensor, DType::f32, piece.shape, std::span(zeros).first(size)});
    }
    write_safetensors(directory + "/model.safetensors", tensors, {});
    EXPECT_EQ(open_model(directory).config.model, model);
    EXPECT_THROW(export_model(*machine_of(model, "fp32", 1), model, kTokenizer, directory + "/m"), UserError);
  }
}

// Logits of 12 tokens.
std::vector<double> logits_of(CpuMachine& machine) {
  std::vector<double> tokens;
  std::vector<double> positions;
  for (int64_t t = 0; t < 12; ++t) {
    tokens.push_back(static_cast<double>((7 * t * t + 3) % 61));
    positions.push_back(static_cast<double>(t));
  }
  set_tensor(machine, "tokens", tokens);
  set_tensor(machine, "positions", positions);
  set_tensor(machine, "position", {0});
  set_tensor(machine, "cu_seqlens", {0, 12});
  machine.step();
  return get_tensor(machine, "logits");
}

// Weights so large that a row gone elsewhere shows in the logits.
std::unique_ptr<CpuMachine> lively_machine(ModelConfig model, const std::string& policy, uint64_t seed) {
  model.initializer_range = 0.3;
  Program program = decoding(test_ops(), model, 1, 12, 12);
  auto machine = machine_for(precision(std::move(program), test_ops(), precision_policy(policy)));
  initialize_parameters(*machine, model, seed);
  for (const Buffer& b : machine->program().buffers) {
    if (b.kind != BufferKind::parameter || b.shape.size() != 1) continue;
    std::vector<double> values = random_values(b.name, b.elements(), 0.3);
    if (b.name.ends_with("norm.weight")) std::ranges::for_each(values, [](double& value) { value += 1; });
    // As an export in bf16 rounds them.
    set_tensor(*machine, b.name, policy == "bf16" ? rounded(values, DType::bf16) : values);
  }
  return machine;
}

// With CENTAVO_KEEP=DIR the directories stay there, with their logits beside them: tests/reference reads them.
void expect_same_logits(const ModelConfig& model, const std::string& policy, const std::string& name) {
  const char* keep = std::getenv("CENTAVO_KEEP");
  const std::string parent = keep != nullptr ? keep : fresh_directory("logits");
  const std::string directory = parent + "/" + name;
  const auto exported = lively_machine(model, policy, stream_of(name.data(), name.size()));
  const std::vector<double> logits = logits_of(*exported);
  make_directories(parent);
  export_model(*exported, model, kTokenizer, directory);
  write_file_atomic(directory + ".json", json_text(json({{"logits", logits}})));

  const auto loaded = lively_machine(model, policy, 1);
  EXPECT_NE(logits_of(*loaded), logits);
  load_parameters(*loaded, open_model(directory));
  EXPECT_EQ(logits_of(*loaded), logits) << name;
}

TEST(ModelDirectory, ALoadedModelComputesTheSameLogits) {
  const std::map<Kind, const char*> kinds = {
      {Kind::llama, ""}, {Kind::llama_with_biases, "-bias"}, {Kind::qwen2, "-qwen2"}, {Kind::gpt2, "-gpt2"}};
  for (const Variant& v : variants()) {
    const std::string name = fmt::format("{}{}-{}", v.tied ? "tied" : "untied", kinds.at(v.kind), v.policy);
    expect_same_logits(small_model(v.tied, v.kind), v.policy, name);
  }
  ModelConfig windowed = small_model(false, Kind::llama);
  windowed.sliding_window = 3;
  expect_same_logits(windowed, "fp32", "untied-window-fp32");
}

}  // namespace
}  // namespace centavo::testing
