// The programs of a model, all from the one forward text of transformer.h.
#pragma once

#include "model/config.h"
#include "model/transformer.h"
#include "program/op_table.h"

namespace centavo {

struct BatchShape {
  int64_t sequences = 1;  // B, of one micro-batch
  int64_t seq_len = 1;    // T
  int64_t max_docs = 0;   // documents a micro-batch may hold; 0: `sequences`
  bool uniform = false;   // each sequence is one document
  int64_t slots = 1;      // micro-batches the token rings hold

  int64_t tokens() const { return sequences * seq_len; }
  int64_t documents() const { return max_docs > 0 ? max_docs : sequences; }
};

// Section `micro`: tokens, targets, positions and cu_seqlens in; the sums `loss` and `count` as control buffers.
// Counters `step` and `micro_step`. `loss_chunk` tokens are projected to the vocabulary at a time.
Program training_forward(const OpTable& ops, const ModelConfig& config, const BatchShape& batch, int64_t loss_chunk,
                         const TransformerOptions& options = {});

// The same forward; one call a step, `loss` and `count` out.
Program evaluation(const OpTable& ops, const ModelConfig& config, const BatchShape& batch, int64_t loss_chunk);

// New tokens of `sequences` sequences, `new_tokens` each, at the positions given in `position` [sequences]; caches of
// `max_len` positions a sequence; `logits` [sequences * new_tokens, vocab_size] out. A prefill has many new tokens, a
// decoding step one.
Program decoding(const OpTable& ops, const ModelConfig& config, int64_t sequences, int64_t new_tokens, int64_t max_len);

}  // namespace centavo
