// Small models of every kind that is exported, with values everywhere.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "machine/cpu/cpu_machine.h"
#include "model/hf/model_directory.h"

namespace centavo::testing {

// A tokenizer.json of two words; the exporter copies it.
extern const ExportedTokenizer kTokenizer;

enum class Kind { llama, llama_with_biases, qwen2, gpt2 };

// golden_model or golden_gpt2_model of models.h, with the biases and the model_type of the kind.
ModelConfig small_model(bool tied, Kind kind);

// With random parameters, biases too.
std::unique_ptr<CpuMachine> machine_of(const ModelConfig& model, const std::string& policy, uint64_t seed);

// By name.
std::map<std::string, std::vector<double>> parameters_of(const CpuMachine& machine);

}  // namespace centavo::testing
