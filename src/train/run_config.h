// The configuration of a training run: a TOML file, then overrides "key=value" on top.
//
// Keys of the table [model] are Hugging Face's and are written model.KEY in overrides and messages. One table of keys
// in run_config_keys.cpp (name, place, whether it must be given, limits, help) drives parsing, errors, printing,
// comparing and the help text; defaults are the initialisers below and in model/config.h.
//
// Errors are UserErrors of one sentence: what, where (file:line or the override) and how to mend.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "model/config.h"

namespace centavo {

// The machine's price is not known.
inline constexpr double kNoPrice = -1;

struct RunConfig {
  std::string text;       // a file or directory to prepare data from
  std::string data;       // or a prepared data directory
  std::string tokenizer;  // a tokenizer.json; empty: learnt from the text
  std::string out;        // resolved to runs/NAME for NAME.toml
  int64_t seed = 0;
  std::string precision = "fp32";
  std::string device = "auto";  // of a run that has begun: which it was
  bool deterministic = false;

  int64_t seq_len = 0;
  int64_t micro_batch = 0;
  int64_t grad_accum_steps = 1;
  int64_t max_steps = 0;
  int64_t loss_chunk = 0;  // 0: left open (train/step_program.h, train/fit.h); of a run that has begun: what it was
  std::string documents = "apart";

  std::string memory;  // budget of the training step on each rank, such as "2GiB"; empty: none
  std::string recompute = "none";
  std::string offload = "none";
  std::string shard = "ddp";
  std::string grad_sum = "chain";
  int64_t prefetch = 1;

  double learning_rate = 0;
  std::string schedule = "cosine";
  int64_t warmup_steps = 0;
  int64_t decay_steps = 0;
  double min_lr_ratio = 0.1;
  double beta1 = 0.9;
  double beta2 = 0.95;
  double eps = 1e-8;
  double weight_decay = 0.1;
  double clip_norm = 1.0;

  int64_t validation_every = 100;
  int64_t validation_windows = 32;
  double validation_fraction = 0.1;
  int64_t checkpoint_every = 0;
  int64_t keep_checkpoints = 2;
  int64_t sample_every = 0;
  int64_t sample_tokens = 0;
  std::string sample_prompt;
  double sample_temperature = 0.8;
  int64_t log_every = 1;
  int64_t threads = 0;
  double price_per_hour = kNoPrice;

  ModelConfig model;

  bool operator==(const RunConfig&) const = default;
};

// Reads and checks the file at `path` and the overrides; derived defaults (out, model.num_key_value_heads,
// model.head_dim, model.max_position_embeddings, those of model.model_type) are filled in; the last override wins.
RunConfig parse_run_config(const std::string& path, const std::vector<std::string>& overrides);

// The same from the text of a file; `path` is used for messages and for the default of `out`.
RunConfig parse_run_config_text(const std::string& toml, const std::string& path,
                                const std::vector<std::string>& overrides);

// Every key with its value as TOML, in the order of the table of keys: equal configurations give equal bytes, and
// parsing the text gives the same configuration.
std::string print(const RunConfig& config);

// The names of the keys whose values differ, in the order of the table of keys.
std::vector<std::string> differing_keys(const RunConfig& a, const RunConfig& b);

// Keys that say how a run is computed and not what is learnt: another value on resuming leads to the same bits, of
// `device`, and of `shard` with grad_sum = "chain", to the same within rounding.
const std::vector<std::string>& keys_free_on_resume();

// One line per key: name, type, default or "required", meaning.
std::string run_config_help();

}  // namespace centavo
