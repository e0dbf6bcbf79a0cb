// The decoder-only transformer (Llama family), forward only.
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

// Parameters are declared where they are used: embed.weight; layers.I.{attn_norm, qkv, o, mlp_norm, gate_up, down}
// .weight (qkv.bias and o.bias with attention_bias); norm.weight; head.weight unless tied.
Transformed transformer(Builder& b, const ModelConfig& config, const TokenInputs& in,
                        const TransformerOptions& options = {});

}  // namespace centavo
