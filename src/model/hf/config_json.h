// config.json of a Hugging Face model directory, to ModelConfig and back.
//
// Read: model_type gpt2, llama, mistral (Llama with a sliding window) or qwen2 (Llama with biases on q, k and v). An
// absent key takes the default of its family in transformers 5. Rotary settings come as transformers 4 spells them
// (rope_theta, rope_scaling) or 5 (rope_parameters, which a non-empty rope_scaling replaces); rope_theta there goes
// before rope_theta at the top. GPT-2's sizes come under its own names (n_embd, …) or the others' (hidden_size, …).
// Keys that change no number (attention_dropout, use_cache, …) are passed over. What the forward text cannot compute is
// refused by name: other model types and architectures, scaled or partial rotary positions, another activation, GPT-2's
// other scalings of attention, quantised weights, layers of several kinds, and sizes that do not fit each other.
//
// Written: every key of the family that holds the model (family.h), both spellings of the rotary settings and of the
// dtype. Equal configurations give equal bytes.
//
// Errors are UserErrors that name the file, the key and its value.
// Source: transformers 5, configuration_llama.py, configuration_mistral.py, configuration_qwen2.py,
// configuration_gpt2.py, modeling_rope_utils.py.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/dtype.h"
#include "model/config.h"

namespace centavo {

struct ConfigJson {
  ModelConfig model;
  std::optional<int64_t> bos_token_id;
  std::vector<int64_t> eos_token_ids;  // any of them ends a text

  bool operator==(const ConfigJson&) const = default;
};

// `path` is for messages.
ConfigJson parse_config_json(const std::string& text, const std::string& path);

// `dtype` (f32 or bf16) is that of the tensors beside the file. UserError when no family holds the model.
std::string print_config_json(const ConfigJson& config, DType dtype);

}  // namespace centavo
