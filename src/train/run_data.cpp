#include "train/run_data.h"

#include <filesystem>

#include "base/errors.h"
#include "data/gzip_size.h"

namespace centavo {
namespace {

constexpr int64_t kLargestBaselineText = int64_t{64} << 20;
constexpr double kProgressSeconds = 2;  // work that is sooner done is not announced

CorpusOptions options_of(const RunConfig& config) {
  return {.paths = {config.text},
          .directory = config.out + "/data",
          .vocab_size = config.tokenizer.empty() ? config.model.vocab_size : 0,
          .tokenizer = config.tokenizer,
          .validation_fraction = config.validation_fraction,
          .seed = static_cast<uint64_t>(config.seed),
          .threads = static_cast<int>(config.threads)};
}

void prepare(const RunConfig& config, ProgressLog& progress) {
  const double start = steady_seconds();
  double last = start;
  build_corpus(options_of(config), [&](const CorpusProgress& p) {
    const double now = steady_seconds();
    if (now - last < kProgressSeconds) return;
    last = now;
    const double share = static_cast<double>(p.done) / static_cast<double>(std::max<int64_t>(p.total, 1));
    progress.line(fmt::format("data       {}: {:.0f} %", p.phase, 100 * share));
  });
}

std::string bytes_in_words(int64_t bytes) {
  if (bytes < 10'000'000) return fmt::format("{:.2f} MB", static_cast<double>(bytes) / 1e6);
  return fmt::format("{:.0f} MB", static_cast<double>(bytes) / 1e6);
}

void require_fitting(const RunConfig& config, const Corpus& corpus, const std::string& directory) {
  const int64_t known = corpus.tokenizer.vocab_size();
  if (known <= config.model.vocab_size) return;
  user_error("{}: its tokenizer has {} tokens and the model {}; set model.vocab_size = {} or more", directory, known,
             config.model.vocab_size, known);
}

}  // namespace

Corpus open_run_data(const RunConfig& config, RunData state, ProgressLog& progress) {
  std::string directory = config.data;
  if (directory.empty()) {
    directory = config.out + "/data";
    if (state == RunData::fresh || !std::filesystem::exists(directory + "/manifest.json")) prepare(config, progress);
  }
  Corpus corpus = open_corpus(directory);
  require_fitting(config, corpus, directory);
  return corpus;
}

std::string data_line(const Corpus& corpus) {
  const CorpusManifest& m = corpus.manifest;
  const double bytes = static_cast<double>(m.train.text_bytes + m.validation.text_bytes);
  const auto tokens = static_cast<double>(m.train.tokens + m.validation.tokens);
  return fmt::format(
      "{} documents of {} to train on, {} of {} to validate; {} tokens of {:.2f} bytes, vocabulary {}{}",
      m.train.documents, bytes_in_words(m.train.text_bytes), m.validation.documents,
      bytes_in_words(m.validation.text_bytes), m.train.tokens + m.validation.tokens, bytes / tokens,
      corpus.tokenizer.vocab_size(),
      m.near_duplicates > 0 ? fmt::format("; {} near-duplicates kept out of validation", m.near_duplicates) : "");
}

DataFacts data_facts(const RunConfig& config, const Corpus& corpus) {
  const CorpusManifest& m = corpus.manifest;
  return {.source = config.text.empty() ? config.data : config.text,
          .documents = m.train.documents + m.validation.documents,
          .bytes = m.train.text_bytes + m.validation.text_bytes,
          .tokens = m.train.tokens + m.validation.tokens,
          .vocabulary = corpus.tokenizer.vocab_size(),
          .hash = fmt::format("{:016x}", corpus.hash)};
}

std::vector<BaselineFacts> baselines_of(const Corpus& corpus) {
  const int64_t bytes = corpus.manifest.validation.text_bytes;
  if (bytes == 0 || bytes > kLargestBaselineText) return {};
  std::vector<int32_t> tokens(static_cast<size_t>(corpus.validation.size()));
  corpus.validation.read(0, tokens);
  if (const auto end = corpus.tokenizer.end_of_text()) std::erase(tokens, *end);
  const std::string text = corpus.tokenizer.decode(tokens);
  return {{"gzip -9", 8.0 * static_cast<double>(gzip_bytes(text)) / static_cast<double>(text.size())}};
}

}  // namespace centavo
