// Which of Hugging Face's model classes holds a model.
//
//   llama     LlamaForCausalLM     rmsnorm, swiglu, rope
//   mistral   MistralForCausalLM   the same with a sliding window, without biases
//   qwen2     Qwen2ForCausalLM     Llama's with biases on q, k and v alone
//   gpt2      GPT2LMHeadModel      layernorm, gelu, learned positions, biases everywhere, one key head a query head
//
// Other combinations train here, and no class holds them.
#pragma once

#include <string>

#include "model/config.h"

namespace centavo {

enum class HfFamily : uint8_t { llama, mistral, qwen2, gpt2 };

// What keeps every class from holding the model, and how to mend it; empty when one does.
std::string why_not_exportable(const ModelConfig& model);

// UserError with why_not_exportable unless that is empty.
void require_exportable(const ModelConfig& model);

// The class by norm, activation, positions, the attention's biases and whether there is a window alone: a directory
// that is read may have sizes that its class refuses to load, such as Llama's head_dim beside a hidden_size that is no
// multiple of its heads. UserError when no class has these norm, activation and positions.
HfFamily family_of(const ModelConfig& model);

}  // namespace centavo
