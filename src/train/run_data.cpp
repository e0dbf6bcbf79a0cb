#include "train/run_data.h"

#include <filesystem>
#include <optional>

#include "base/errors.h"
#include "data/gzip_size.h"
#include "data/sources.h"
#include "train/generate.h"
#include "train/token_feed.h"

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

void require_fitting(const RunConfig& config, const Tokenizer& tokenizer, const std::string& path) {
  const int64_t known = tokenizer.vocab_size();
  if (known <= config.model.vocab_size) return;
  user_error("{}: its tokenizer has {} tokens and the model {}; set model.vocab_size = {} or more", path, known,
             config.model.vocab_size, known);
}

// Rows of the embedding that no token reaches cost memory and time.
std::optional<std::string> wasted_rows(const RunConfig& config, const Tokenizer& tokenizer, const std::string& path) {
  const int64_t known = tokenizer.vocab_size();
  if (known >= config.model.vocab_size) return std::nullopt;
  return fmt::format(
      "warning    {}: its tokenizer has {} tokens, so {} of the model's {} are never used; set "
      "model.vocab_size = {}",
      path, known, config.model.vocab_size - known, config.model.vocab_size, known);
}

// Its lines; and what a run refuses before its first step.
std::vector<std::string> look_at_tokenizer(const RunConfig& config, const Tokenizer& tokenizer,
                                           const std::string& path) {
  require_fitting(config, tokenizer, path);
  require_sample_prompt(config, tokenizer);
  const std::optional<std::string> warning = wasted_rows(config, tokenizer, path);
  return warning ? std::vector{*warning} : std::vector<std::string>();
}

void append(std::vector<std::string>& lines, const std::vector<std::string>& more) {
  lines.insert(lines.end(), more.begin(), more.end());
}

std::vector<std::string> look_at_text(const RunConfig& config) {
  const std::vector<Source> sources = find_sources({config.text});
  int64_t bytes = 0;
  for (const Source& source : sources) bytes += source.size_bytes;
  return {fmt::format("data       {} in {} of {}, to be prepared in {}/data", bytes_in_words(bytes),
                      sources.size() == 1 ? "1 file" : fmt::format("{} files", sources.size()), config.text,
                      config.out)};
}

}  // namespace

Corpus open_run_data(const RunConfig& config, RunData state, ProgressLog& progress) {
  std::string directory = config.data;
  if (directory.empty()) {
    directory = config.out + "/data";
    if (state == RunData::fresh || !std::filesystem::exists(directory + "/manifest.json")) prepare(config, progress);
  }
  Corpus corpus = open_corpus(directory);
  require_fitting(config, corpus.tokenizer, directory);
  if (const auto warning = wasted_rows(config, corpus.tokenizer, directory)) progress.line(*warning);
  return corpus;
}

std::vector<std::string> look_at_run_data(const RunConfig& config) {
  if (config.data.empty()) {
    std::vector<std::string> lines = look_at_text(config);
    if (config.tokenizer.empty()) return lines;
    append(lines, look_at_tokenizer(config, Tokenizer::read(config.tokenizer), config.tokenizer));
    return lines;
  }
  const Corpus corpus = open_corpus(config.data);
  const TokenFeed feed(corpus, config);
  std::vector<std::string> lines = {"data       " + data_line(corpus)};
  append(lines, look_at_tokenizer(config, corpus.tokenizer, config.data));
  return lines;
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
