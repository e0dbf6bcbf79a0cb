// Rows of logits: each row's loss, and in place its gradient. The contract of score.h, on CUDA: exponentials are summed
// in f32 over fixed parts of the row, with at most 64 + V / 32768 additions one after another; their own error, that of
// their argument included, is at most (|row[v] - max| + 6) u.
#pragma once

#include <cstdint>

#include "base/dtype.h"

struct CUstream_st;

namespace centavo {

// Elements between the starts of two rows of logits: rows begin at multiples of 128 bytes, whatever V is.
inline int64_t logits_stride(int64_t vocab) { return (vocab + 63) / 64 * 64; }

class RowScorer {
 public:
  // Rows of `vocab` numbers of f32 or bf16, logits_stride(vocab) apart; `differentiates`: they become their gradient.
  // Asks the current device what it can run.
  RowScorer(DType dtype, int64_t vocab, bool differentiates);

  // losses[n] is 0 and the gradient's row 0 where targets[n] is no id of the vocabulary.
  void run(void* logits, const int32_t* targets, int64_t rows, double* losses, CUstream_st* stream) const;

 private:
  DType dtype_;
  int64_t vocab_;
  bool differentiates_;
  int blocks_ = 0;   // of a cluster, which holds a row in its registers; 0: a block reads the row twice
  int vectors_ = 0;  // of a thread of the cluster
};

}  // namespace centavo
