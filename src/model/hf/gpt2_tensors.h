// Which parameter of the program is which tensor of Hugging Face's GPT-2.
//
//   embed.weight                     [V, C]       transformer.wte.weight
//   position_embed.weight            [P, C]       transformer.wpe.weight
//   layers.N.attn_norm.{weight,bias} [C]          transformer.h.N.ln_1.{weight,bias}
//   layers.N.qkv.weight              [3 C, C]     …attn.c_attn.weight       [C, 3 C]
//   layers.N.qkv.bias                [3 C]        …attn.c_attn.bias
//   layers.N.o.weight                [C, C]       …attn.c_proj.weight       [C, C]
//   layers.N.o.bias                  [C]          …attn.c_proj.bias
//   layers.N.mlp_norm.{weight,bias}  [C]          …ln_2.{weight,bias}
//   layers.N.up.weight               [F, C]       …mlp.c_fc.weight          [C, F]
//   layers.N.up.bias                 [F]          …mlp.c_fc.bias
//   layers.N.down.weight             [C, F]       …mlp.c_proj.weight        [F, C]
//   layers.N.down.bias               [C]          …mlp.c_proj.bias
//   norm.{weight,bias}               [C]          transformer.ln_f.{weight,bias}
//   head.weight                      [V, C]       lm_head.weight            unless tied
//
// The weights of its projections (Conv1D) are stored [in, out]: transposed. Source: transformers, modeling_gpt2.py.
#pragma once

#include "model/hf/tensor_pieces.h"

namespace centavo {

// The whole model's; files of the model without its head leave out the prefix (model_directory.h).
constexpr const char* kGpt2Prefix = "transformer.";

std::vector<TensorPiece> gpt2_tensors(const ModelConfig& model);

}  // namespace centavo
