// Steps of a run on several ranks: threads of this process, a machine each.
#pragma once

#include <cstddef>
#include <map>
#include <string>
#include <vector>

#include "data/corpus.h"
#include "passes/shard.h"
#include "tests/support/models.h"
#include "train/run_config.h"

namespace centavo::testing {

struct WorldRun {
  // The state by logical tensor, put together from the parts of all ranks. Parts that several ranks hold are checked to
  // agree in every bit.
  std::map<std::string, std::vector<std::byte>> state;
  std::vector<std::vector<float>> metrics;  // of each step: loss, norm, tokens, finite
  int64_t device_bytes = 0;                 // of the largest rank
  int64_t persistent_bytes = 0;             // of parameters and states; likewise
};

// The state of a world, put together from the parts of its ranks. CHECKs that parts that several ranks hold agree in
// every bit and that no element is missing; `micro_step`, which is a rank's own, is left out.
class WorldState {
 public:
  void add(const Machine& machine, int64_t rank);
  std::map<std::string, std::vector<std::byte>> take();

 private:
  std::map<std::string, std::vector<std::byte>> state_;
  std::map<std::string, std::vector<bool>> seen_;
};

// `steps` steps of the config's program from its first weights, on `mesh.ranks()` ranks. Every rank's program is
// verified.
WorldRun run_world(const RunConfig& config, const Corpus& corpus, const Mesh& mesh, int64_t steps,
                   const MachineOptions& options = {.threads = 1, .debug = false});

// The names of tensors that differ, for messages; "metrics" when those do.
std::vector<std::string> differences(const WorldRun& a, const WorldRun& b);

}  // namespace centavo::testing
