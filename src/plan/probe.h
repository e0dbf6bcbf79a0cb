// The ladder: small training programs whose ops are timed, so that the ops of other programs lie between them.
//
// Each probe is a model of one or two layers. Together they span what is trained on a CPU: widths 96 to 1024, heads of
// 32 and 64, 256 to 8192 tokens a micro-batch, vocabularies of 256 to 48000, and every precision, with gradients
// written and added to. The sizes stand beside those that models usually have, not on them. On a GPU: widths 768 to
// 4096, heads of 64 and 128 with as many or fewer for keys, 8192 to 32768 tokens, vocabularies of 32000 to 152064.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "machine/make_machine.h"
#include "train/run_config.h"

namespace centavo {

// Sizes of a probe, in the words of a run file.
struct ProbeShape {
  int64_t hidden_size = 0;
  int64_t intermediate_size = 0;
  int64_t num_attention_heads = 0;
  int64_t seq_len = 0;
  int64_t micro_batch = 0;
  int64_t vocab_size = 0;
  int64_t grad_accum_steps = 1;
  int64_t num_key_value_heads = 0;  // 0: as many as heads
};

enum class Ladder : uint8_t {
  full,   // minutes
  quick,  // less than half a minute; costs far from its few sizes are rough
};

// The run of a probe: one layer, its head apart from the embedding.
RunConfig probe_config(const ProbeShape& shape, const std::string& precision);

// The runs of the device's ladder, in the order they are measured. Those of a GPU need at most 80 GB.
std::vector<RunConfig> ladder(Ladder which, DeviceKind device = DeviceKind::cpu);

// "bf16 hidden 256 tokens 8x256 vocab 16000"
std::string name_of_probe(const RunConfig& config);

}  // namespace centavo
