#include "train/evaluate.h"

#include <numbers>

#include "base/errors.h"
#include "program/verify.h"

namespace centavo {
namespace {

constexpr int64_t kLossChunk = 1024;  // tokens whose logits are held at a time

void write_ints(Machine& machine, const char* name, const std::vector<int32_t>& values) {
  machine.write(name, std::as_bytes(std::span(values)));
}

// Counts the targets of a batch and their bytes.
void count(const TokenBatch& batch, const Tokenizer& tokenizer, Score& score) {
  for (const int32_t target : batch.targets) {
    if (target < 0) continue;
    ++score.tokens;
    if (target != tokenizer.end_of_text()) score.bytes += static_cast<int64_t>(tokenizer.bytes_of(target).size());
  }
}

}  // namespace

double Score::bits_per_byte() const { return nats / std::numbers::ln2 / static_cast<double>(bytes); }

Evaluator::Evaluator(const OpTable& ops, const ModelDirectory& model, const Options& options) : options_(options) {
  const ModelConfig& config = model.config.model;
  CHECK(options.seq_len >= 1 && options.seq_len <= config.max_position_embeddings, "seq_len {}", options.seq_len);
  const Inference inference{.precision = model.precision, .worker = options.worker};
  const BatchShape batch{
      .sequences = options.batch, .seq_len = options.seq_len, .max_docs = options.batch * options.seq_len};
  Program program = evaluation_program(ops, config, inference, batch, kLossChunk);
  verify(program, ops);
  machine_ = make_machine(std::move(program), ops, options.worker.machine_options());
  load_parameters(*machine_, model);
}

double Evaluator::nats_of(const TokenBatch& batch) {
  write_ints(*machine_, "tokens", batch.tokens);
  write_ints(*machine_, "targets", batch.targets);
  write_ints(*machine_, "positions", batch.positions);
  write_ints(*machine_, "cu_seqlens", batch.cu_seqlens);
  machine_->step();
  float nats = 0;
  machine_->read("loss", std::as_writable_bytes(std::span(&nats, 1)));
  return nats;
}

Score Evaluator::evaluate(const WindowSource& windows, const Tokenizer& tokenizer, const ScoreSink& sink) {
  std::vector<Window> group(static_cast<size_t>(options_.batch));
  TokenBatch batch;
  Score score;
  for (bool more = true; more;) {
    for (Window& window : group) {
      more = more && windows(window);
      if (!more) window = Window();
    }
    if (group.front().tokens.empty()) break;
    pack(group, options_.seq_len, document_border(tokenizer), batch);
    score.nats += nats_of(batch);
    count(batch, tokenizer, score);
    if (sink) sink(score);
  }
  if (score.tokens == 0) user_error("the text holds nothing to predict; give one of at least two tokens");
  return score;
}

}  // namespace centavo
