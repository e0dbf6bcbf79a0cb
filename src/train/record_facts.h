// What is written down about a run before its first step.
#pragma once

#include <string>

#include "data/corpus.h"
#include "program/program.h"
#include "train/run_config.h"
#include "train/run_facts.h"

namespace centavo {

// The processor, its memory, the system and the libraries in use, as the system names them.
MachineFacts machine_facts();

// The last name in the path of the run's directory.
std::string run_name(const std::string& out_dir);

RunFacts record_facts(const RunConfig& config, const Program& program, uint64_t program_hash, const Corpus& corpus);

}  // namespace centavo
