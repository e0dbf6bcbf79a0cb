#include "tests/support/exported_models.h"

#include "model/initialize.h"
#include "model/programs.h"
#include "passes/precision.h"
#include "tests/support/models.h"
#include "tests/support/op_check.h"

namespace centavo::testing {

const ExportedTokenizer kTokenizer = {"{\"not\": \"read here\"}\n", SpecialToken{60, "<|endoftext|>"}};

ModelConfig small_model(bool tied, Kind kind) {
  if (kind == Kind::gpt2) return golden_gpt2_model(tied);
  ModelConfig model = golden_model(tied);
  model.attention_bias = model.attention_output_bias = model.mlp_bias = kind == Kind::llama_with_biases;
  if (kind == Kind::qwen2) {
    model.model_type = "qwen2";
    model.attention_bias = true;
  }
  return model;
}

std::unique_ptr<CpuMachine> machine_of(const ModelConfig& model, const std::string& policy, uint64_t seed) {
  Program program = decoding(test_ops(), model, 1, 4, 16);
  auto machine = machine_for(precision(std::move(program), test_ops(), precision_policy(policy)));
  initialize_parameters(*machine, model, seed);
  // Biases start at zero, which would hide rows that went elsewhere. An export in bf16 rounds those of norms.
  for (const Buffer& b : machine->program().buffers) {
    if (!b.name.ends_with(".bias")) continue;
    const std::vector<double> values = random_values(b.name, b.elements(), 0.1);
    set_tensor(*machine, b.name, policy == "bf16" ? rounded(values, DType::bf16) : values);
  }
  return machine;
}

std::map<std::string, std::vector<double>> parameters_of(const CpuMachine& machine) {
  std::map<std::string, std::vector<double>> values;
  for (const Buffer& b : machine.program().buffers) {
    if (b.kind == BufferKind::parameter) values[b.name] = get_tensor(machine, b.name);
  }
  return values;
}

}  // namespace centavo::testing
