#include "tests/support/models.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <filesystem>

#include "base/files.h"
#include "machine/cpu/guard.h"
#include "ops/all.h"
#include "passes/edges.h"
#include "passes/place.h"
#include "program/text.h"
#include "program/verify.h"
#include "tests/support/op_check.h"
#include "tests/support/paths.h"
#include "train/run_data.h"

namespace centavo::testing {

const OpTable& test_ops() {
  static const OpTable table = all_ops();
  return table;
}

std::unique_ptr<CpuMachine> machine_for(Program program, const MachineOptions& options) {
  program = add_cpu_workspaces(std::move(program), test_ops(), CpuTraits{options.threads, options.communicator});
  program = place(
      std::move(program),
      {.red_zone_bytes = options.debug ? kRedZoneBytes : 0, .borrow = {}, .share_addresses = options.share_addresses});
  program = derive_edges(std::move(program), test_ops());
  verify(program, test_ops());
  return std::make_unique<CpuMachine>(std::move(program), test_ops(),
                                      CpuMachine::Options{.threads = options.threads,
                                                          .debug = options.debug,
                                                          .lender = options.lender,
                                                          .communicator = options.communicator});
}

int64_t expect_each_edge_needed(const Program& program) {
  int64_t edges = 0;
  for (size_t s = 0; s < program.sections.size(); ++s) {
    for (size_t o = 0; o < program.sections[s].ops.size(); ++o) {
      for (size_t e = 0; e < program.sections[s].ops[o].after.size(); ++e, ++edges) {
        Program mutant = program;
        auto& after = mutant.sections[s].ops[o].after;
        after.erase(after.begin() + static_cast<int64_t>(e));
        EXPECT_THROW(verify(mutant, test_ops()), UserError)
            << print(program, program.sections[s], program.sections[s].ops[o]);
      }
    }
  }
  return edges;
}

ModelConfig golden_model(bool tied, int64_t sliding_window) {
  ModelConfig c;
  c.vocab_size = 61;
  c.hidden_size = 32;
  c.intermediate_size = 40;
  c.num_hidden_layers = 2;
  c.num_attention_heads = 4;
  c.num_key_value_heads = 2;
  c.head_dim = 8;
  c.tie_word_embeddings = tied;
  c.sliding_window = sliding_window;
  c.max_position_embeddings = 64;
  return c;
}

ModelConfig golden_gpt2_model(bool tied) {
  ModelConfig c = golden_model(tied);
  c.model_type = "gpt2";
  c.norm = "layernorm";
  c.activation = "gelu";
  c.positions = "learned";
  c.attention_bias = c.attention_output_bias = c.mlp_bias = true;
  c.num_key_value_heads = c.num_attention_heads;
  return c;
}

Corpus corpus_of(RunConfig config) {
  config.model.vocab_size = kByteVocabulary;
  ProgressLog silent(nullptr, ProgressLog::Kind::lines, 1);
  return open_run_data(config, RunData::fresh, silent);
}

std::string fresh_directory(const std::string& name) {
  static int count = 0;
  const std::filesystem::path path =
      std::filesystem::path(::testing::TempDir()) / fmt::format("centavo {} {} {}", getpid(), name, count++);
  std::filesystem::remove_all(path);
  std::filesystem::create_directories(path);
  return path.string();
}

RunConfig micro_run(const std::string& directory, const std::vector<std::string>& overrides) {
  std::string text;
  for (int i = 0; i < 400; ++i)
    text +=
        fmt::format("line {} of a text that repeats itself, but not quite.\n{}", i * i, i % 20 == 19 ? kEndOfText : "");
  const std::string path = directory + "/text.txt";
  write_file_atomic(path, text);
  const std::string toml = fmt::format(R"(
text = "{}"
out = "{}/out"
device = "cpu"
seq_len = 24
micro_batch = 3
max_steps = 8
learning_rate = 1e-2
warmup_steps = 2
validation_every = 4
validation_windows = 5
loss_chunk = 32
[model]
vocab_size = 256
hidden_size = 16
intermediate_size = 24
num_hidden_layers = 2
num_attention_heads = 4
num_key_value_heads = 2
)",
                                       path, directory);
  return parse_run_config_text(toml, directory + "/micro.toml", overrides);
}

std::string golden_path(const std::string& file) { return source_path("tests/golden/" + file); }

std::vector<double> golden_values(const SafetensorsFile& file, const std::string& name) {
  const TensorView* tensor = file.find(name);
  CHECK(tensor != nullptr, "the golden file lacks {}", name);
  std::vector<double> values(tensor->bytes.size() / 4);
  for (size_t i = 0; i < values.size(); ++i) {
    float real = 0;
    int32_t whole = 0;
    std::memcpy(&real, tensor->bytes.data() + 4 * i, 4);
    std::memcpy(&whole, tensor->bytes.data() + 4 * i, 4);
    values[i] = tensor->dtype == DType::f32 ? static_cast<double>(real) : whole;
  }
  return values;
}

void load(Machine& machine, const SafetensorsFile& file, const std::string& prefix) {
  for (const Buffer& b : machine.program().buffers) {
    if (file.find(prefix + b.name) == nullptr) continue;
    set_tensor(machine, b.name, golden_values(file, prefix + b.name));
    if (machine.program().find(b.name + ".master") != kNone) {
      set_tensor(machine, b.name + ".master", golden_values(file, prefix + b.name));
    }
  }
}

std::vector<std::byte> bytes_of(const ByteSource& source) {
  std::vector<std::byte> all;
  source.stream([&](std::span<const std::byte> bytes) { all.insert(all.end(), bytes.begin(), bytes.end()); });
  return all;
}

double relative_norm(const std::vector<double>& a, const std::vector<double>& b) {
  CHECK(a.size() == b.size(), "{} and {} elements", a.size(), b.size());
  double difference = 0;
  double norm = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    difference += (a[i] - b[i]) * (a[i] - b[i]);
    norm += b[i] * b[i];
  }
  return std::sqrt(difference / norm);
}

}  // namespace centavo::testing
