// The decoder-only transformer, forward only: norms before each part, attention, feed-forward (Llama and GPT-2, and
// what lies between them).
//
// One text serves training, evaluation, prefill, decoding and LoRA: they differ in their inputs, in whether attention
// has a cache, and in which parameters are trainable. The backward comes from the ops' gradient rules.
#pragma once

#include <optional>
#include <vector>

#include "model/config.h"
#include "ops/attention/attention.h"
#include "program/builder.h"

namespace centavo {

// N tokens of a micro-batch, flattened.
struct TokenInputs {
  BufferId tokens = kNone;      // [N] i32
  BufferId positions = kNone;   // [N] i32, restarting in each document
  BufferId cu_seqlens = kNone;  // [max_docs + 1] i32
  int64_t max_seqlen = 0;       // tokens of the longest document; 0: unknown
  bool uniform = false;         // all documents are max_seqlen long and leave no padding
};

// Low-rank adapters: every projection W becomes W + alpha/rank * B A, with W frozen. Source: Hu et al., "LoRA", 2021.
struct LoraSettings {
  int64_t rank = 8;
  double alpha = 16;
};

struct TransformerOptions {
  std::vector<AttentionCache> caches;  // one a layer, or none
  std::optional<LoraSettings> lora;
};

struct Transformed {
  BufferId h = kNone;            // [N, hidden_size], after the last norm
  BufferId head_weight = kNone;  // [vocab_size, hidden_size]; the embedding when tied
};

// Parameters are declared where they are used:
//
//   embed.weight, and head.weight unless tied          [vocab_size, hidden_size]
//   position_embed.weight, with learned positions      [max_position_embeddings, hidden_size]
//   layers.I.{attn_norm, mlp_norm}.weight, norm.weight [hidden_size]
//   layers.I.{qkv, o, down}.weight                     [out, in]
//   layers.I.gate_up.weight, with swiglu               [2 intermediate_size, hidden_size]
//   layers.I.up.weight, with gelu                      [intermediate_size, hidden_size]
//
// A bias [out] beside a weight: of norms with layernorm, of qkv with attention_bias, of o with attention_output_bias,
// of the feed-forward's with mlp_bias.
Transformed transformer(Builder& b, const ModelConfig& config, const TokenInputs& in,
                        const TransformerOptions& options = {});

}  // namespace centavo
