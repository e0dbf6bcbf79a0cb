// What a run measures of its model: validations and samples, and which of them are due.

#include <algorithm>
#include <cstring>
#include <numbers>

#include "base/between_ranks.h"
#include "base/printable.h"
#include "train/generate.h"
#include "train/report.h"
#include "train/trainer.h"

namespace centavo {
namespace {

// What a rank has computed of one batch.
struct BatchScore {
  double nats = 0;
  int64_t tokens = 0;
  int64_t bytes = 0;
};

std::string as_text(const std::vector<BatchScore>& scores) {
  return {reinterpret_cast<const char*>(scores.data()), scores.size() * sizeof(BatchScore)};
}

std::vector<BatchScore> as_scores(const std::string& text) {
  std::vector<BatchScore> scores(text.size() / sizeof(BatchScore));
  std::memcpy(scores.data(), text.data(), text.size());
  return scores;
}

}  // namespace

// Batch b belongs to rank b mod R. Scores are added in the order of the batches, whoever has computed them.
Validation Trainer::validate(int64_t most_windows) {
  CHECK(evaluator_ != nullptr);
  const int64_t windows = std::min(most_windows, feed_->validation_windows());
  const int64_t batches = (windows + config_.micro_batch - 1) / config_.micro_batch;
  const int64_t rounds = (batches + world_.ranks() - 1) / world_.ranks();
  std::vector<BatchScore> own;
  for (int64_t round = 0; round < rounds; ++round) {
    BatchScore score;
    score.bytes = feed_->validation(*evaluator_, round * world_.ranks() + world_.rank(), windows);
    evaluator_->step();
    float nats = 0;
    int32_t tokens = 0;
    evaluator_->read("loss", std::as_writable_bytes(std::span(&nats, 1)));
    evaluator_->read("count", std::as_writable_bytes(std::span(&tokens, 1)));
    score.nats = nats;
    score.tokens = tokens;
    own.push_back(score);
  }
  std::vector<std::vector<BatchScore>> all;
  for (const std::string& text : all_gather_texts(world_, as_text(own))) all.push_back(as_scores(text));
  double nats = 0;
  Validation result;
  for (int64_t batch = 0; batch < rounds * world_.ranks(); ++batch) {
    const BatchScore& score =
        all[static_cast<size_t>(batch % world_.ranks())][static_cast<size_t>(batch / world_.ranks())];
    nats += score.nats;
    result.tokens += score.tokens;
    result.bytes += score.bytes;
  }
  result.nats_per_token = nats / static_cast<double>(result.tokens);
  result.bits_per_byte = nats / std::numbers::ln2 / static_cast<double>(result.bytes);
  return result;
}

int64_t Trainer::validation_windows_due() const {
  if (!validates()) return 0;
  if (is_last()) return feed_->validation_windows();
  return due(config_.validation_every) ? std::min(config_.validation_windows, feed_->validation_windows()) : 0;
}

bool Trainer::sample_due() const {
  return config_.sample_tokens > 0 && (is_last() || (steps_done_ > 0 && due(config_.sample_every)));
}

// Is something due after this step that is not among `measured`? The end also has to be on record.
bool Trainer::owes(const Measured& measured) const {
  return validation_windows_due() > measured.validation_windows || (sample_due() && !measured.sampled) ||
         measured.max_steps != config_.max_steps;
}

void Trainer::measure(const Measured& measured) {
  const int64_t windows = validation_windows_due();
  if (windows > measured.validation_windows) validate_and_log(windows);
  if (sample_due() && !measured.sampled) sample_and_log();
}

void Trainer::validate_and_log(int64_t most_windows) {
  const Validation v = validate(most_windows);
  if (!leads()) return;
  run_log_->validation({.step = steps_done_,
                        .loss = v.nats_per_token,
                        .bits_per_byte = v.bits_per_byte,
                        .bytes = v.bytes,
                        .tokens = v.tokens,
                        .time = 0,
                        .windows = most_windows});
  run_log_->write_report();
}

void Trainer::sample_and_log() {
  const GenerationSettings settings{.max_tokens = config_.sample_tokens,
                                    .draw = {.temperature = config_.sample_temperature},
                                    .seed = static_cast<uint64_t>(config_.seed)};
  const std::string prompt = sample_prompt(config_, corpus_->tokenizer);
  const std::string text = sample_text(ops_, config_, worker_, *machine_, corpus_->tokenizer, prompt, settings);
  if (!leads()) return;
  run_log_->sample({.step = steps_done_, .text = text, .prompt = prompt});
  progress_.line(fmt::format("sample     {}", printable(prompt + text)));
}

// What rank 0 finds in the log of a run that goes on.
Measured Trainer::measured_so_far() {
  Measured measured = resumes() && leads() ? measured_at(config_.out, steps_done_) : Measured{};
  measured.validation_windows = max_over_ranks(world_, measured.validation_windows);
  measured.sampled = max_over_ranks(world_, int64_t{measured.sampled ? 1 : 0}) > 0;
  measured.max_steps = max_over_ranks(world_, measured.max_steps);
  return measured;
}

}  // namespace centavo
