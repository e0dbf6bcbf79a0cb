// Text from a model: a prefill of the prompt, then one token at a time from the cache.
#pragma once

#include <string>

#include "machine/cpu/cpu_machine.h"
#include "train/run_config.h"

namespace centavo {

struct SampleSettings {
  int64_t tokens = 200;
  double temperature = 0.8;  // 0: the likeliest token
  uint64_t seed = 0;
};

// Continues `prompt` (bytes are tokens; at least one) with the parameters that `weights` holds. Stops at
// max_position_embeddings. Returns the continuation.
std::string sample_text(const OpTable& ops, const RunConfig& config, CpuMachine& weights, const std::string& prompt,
                        const SampleSettings& settings);

}  // namespace centavo
