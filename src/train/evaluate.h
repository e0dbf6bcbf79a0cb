// How well a model predicts text: nats per token, and bits per byte, which models with other tokenizers share.
//
//   loss           nats / tokens
//   bits per byte  nats / ln 2 / bytes
//
// The text is read as a row of documents, each behind <|endoftext|> where the tokenizer has it, in windows of seq_len
// tokens as in data/sampler.h: every token but the row's first is a target exactly once, and sees what precedes it in
// its window and document. Without <|endoftext|> a document's first token is no target. `bytes` are those of the
// targets; <|endoftext|> has none, but its nats count.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "data/packing.h"
#include "data/sampler.h"
#include "data/tokenizer.h"
#include "machine/make_machine.h"
#include "model/hf/model_directory.h"
#include "train/step_program.h"

namespace centavo {

struct Score {
  int64_t tokens = 0;  // targets
  int64_t bytes = 0;
  double nats = 0;

  double loss() const { return nats / static_cast<double>(tokens); }
  double bits_per_byte() const;
};

// The next window; false when there is none.
using WindowSource = std::function<bool(Window&)>;
// Called after each batch.
using ScoreSink = std::function<void(const Score& so_far)>;

class Evaluator {
 public:
  struct Options {
    Worker worker = 1;
    int64_t batch = 1;    // windows computed at a time
    int64_t seq_len = 1;  // at most the model's max_position_embeddings
  };

  Evaluator(const OpTable& ops, const ModelDirectory& model, const Options& options);

  // The windows hold at most seq_len + 1 tokens, ids below vocab_size. UserError when they hold no target.
  Score evaluate(const WindowSource& windows, const Tokenizer& tokenizer, const ScoreSink& sink = {});

 private:
  double nats_of(const TokenBatch& batch);

  Options options_;
  std::unique_ptr<Machine> machine_;
};

}  // namespace centavo
