// Which rows of which parameter of the program are which tensor of Hugging Face's Llama.
//
//   embed.weight                [V, C]          model.embed_tokens.weight
//   layers.N.attn_norm.weight   [C]             model.layers.N.input_layernorm.weight
//   layers.N.qkv.weight         [(H+2K) D, C]   …self_attn.q_proj.weight, k_proj, v_proj, end to end
//   layers.N.qkv.bias           [(H+2K) D]      …q_proj.bias, k_proj, v_proj       with attention_bias
//   layers.N.o.weight           [C, H D]        …self_attn.o_proj.weight
//   layers.N.o.bias             [C]             …self_attn.o_proj.bias             with attention_output_bias
//   layers.N.mlp_norm.weight    [C]             …post_attention_layernorm.weight
//   layers.N.gate_up.weight     [2 F, C]        …mlp.gate_proj.weight, up_proj, end to end
//   layers.N.gate_up.bias       [2 F]           …gate_proj.bias, up_proj           with mlp_bias
//   layers.N.down.weight        [C, F]          …mlp.down_proj.weight
//   layers.N.down.bias          [C]             …mlp.down_proj.bias                with mlp_bias
//   norm.weight                 [C]             model.norm.weight
//   head.weight                 [V, C]          lm_head.weight                     unless tied
//
// Rotary positions pair element i of a head with element i + D/2 in both, so no row moves. Mistral's and Qwen2's
// names are the same. Source: transformers, modeling_llama.py.
#pragma once

#include "model/hf/tensor_pieces.h"

namespace centavo {

std::vector<TensorPiece> llama_tensors(const ModelConfig& model);

}  // namespace centavo
