// Training programs stepped by hand on one device, and what they leave.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "data/corpus.h"
#include "machine/machine.h"
#include "program/program.h"
#include "train/run_config.h"
#include "train/step_program.h"

namespace centavo::testing {

// Bytes of a machine's persistent tensors, by name.
using State = std::map<std::string, std::vector<std::byte>>;
State state_of(const Machine& machine);

// What steps leave.
struct Trained {
  std::vector<float> losses;
  State state;
};

// The one that `config` asks for by `device` and `deterministic`. Those of a process choose the same algorithms.
Worker worker_for(const RunConfig& config);

// Steps of a placed program on the corpus, from the config's first weights. On a GPU the first is launched op by op,
// the second captured, the third replayed, the last timed.
Trained trained(const Program& program, const RunConfig& config, const Corpus& corpus, const Worker& worker);

// The same bits; else the first step or the first tensor that differs is named. And it was training: losses fell.
void expect_same_bits(const Trained& a, const Trained& b, const std::string& what);

}  // namespace centavo::testing
