// Small models for tests of the whole system.
#pragma once

#include <memory>
#include <string>

#include "data/corpus.h"
#include "machine/cpu/cpu_machine.h"
#include "model/hf/safetensors.h"
#include "model/programs.h"
#include "train/run_config.h"

namespace centavo::testing {

const OpTable& test_ops();

// Adds workspaces, places, verifies and prepares. Debug machines are placed with red zones.
struct MachineOptions {
  int threads = 2;
  bool debug = true;
  bool share_addresses = true;
  CpuMachine* lender = nullptr;
  Communicator* communicator = nullptr;
};
std::unique_ptr<CpuMachine> machine_for(Program program, const MachineOptions& options = {});

// Removes each edge of the program in turn and expects verify to object. Returns how many there are.
int64_t expect_each_edge_needed(const Program& program);

// The model of tests/golden: vocabulary 61, width 32, 2 layers, 4 query and 2 key/value heads of 8.
ModelConfig golden_model(bool tied, int64_t sliding_window = 0);
// The same sizes as a GPT-2, with a key and value head for each query head.
ModelConfig golden_gpt2_model(bool tied);

// A run of a micro model on `text`, written to a file of its own under `directory`.
RunConfig micro_run(const std::string& directory, const std::vector<std::string>& overrides = {});

// The config's text as a data directory of bytes below its output directory.
Corpus corpus_of(RunConfig config);

// A new directory for one test, removed by nobody: it lies under the build's temporary folder.
std::string fresh_directory(const std::string& name);

std::string golden_path(const std::string& file);
std::vector<double> golden_values(const SafetensorsFile& file, const std::string& name);

// Sets every buffer of the machine whose name, with `prefix` before it, the file holds.
void load(Machine& machine, const SafetensorsFile& file, const std::string& prefix);

// All of them, in memory.
std::vector<std::byte> bytes_of(const ByteSource& source);

// sqrt(sum (a - b)^2) / sqrt(sum b^2)
double relative_norm(const std::vector<double>& a, const std::vector<double>& b);

}  // namespace centavo::testing
