// centavo data build PATH... --out DIR (--vocab-size N | --tokenizer FILE)
// centavo data show DIR
// centavo data verify DIR

#include <pthread.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <memory>
#include <string>

#include "base/errors.h"
#include "cli/commands.h"
#include "cli/standing_line.h"
#include "data/corpus.h"
#include "data/utf8.h"
#include "train/units.h"

namespace centavo {
namespace {

// Holds SIGINT and SIGTERM back while it lives, so that what is half done can be undone; then they act as they would
// have. Threads started meanwhile inherit this.
class DeferredSignals {
 public:
  DeferredSignals() {
    sigemptyset(&signals_);
    sigaddset(&signals_, SIGINT);
    sigaddset(&signals_, SIGTERM);
    ::pthread_sigmask(SIG_BLOCK, &signals_, &before_);
  }
  ~DeferredSignals() { ::pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  DeferredSignals(const DeferredSignals&) = delete;
  DeferredSignals& operator=(const DeferredSignals&) = delete;

  bool arrived() const {
    sigset_t pending;
    sigpending(&pending);
    return sigismember(&pending, SIGINT) == 1 || sigismember(&pending, SIGTERM) == 1;
  }

 private:
  sigset_t signals_ = {};
  sigset_t before_ = {};
};

// How far the corpus is; not for work that is soon done.
class CorpusLine {
 public:
  void show(const CorpusProgress& progress) {
    const auto now = Clock::now();
    if (progress.phase != phase_) {
      phase_ = progress.phase;
      phase_began_ = now;
    }
    if (now - began_ < std::chrono::seconds(2)) return;
    const double share = static_cast<double>(progress.done) / static_cast<double>(std::max<int64_t>(progress.total, 1));
    const double elapsed = std::chrono::duration<double>(now - phase_began_).count();
    line_.show(fmt::format("{}: {:.0f} %{}", phase_, 100 * share, left(share, elapsed)));
  }
  void clear() { line_.clear(); }

 private:
  using Clock = std::chrono::steady_clock;

  static std::string left(double share, double elapsed_s) {
    if (share < 0.01 || elapsed_s < 2) return "";
    const auto seconds = static_cast<int64_t>(elapsed_s * (1 - share) / share);
    return fmt::format(", {}:{:02} left", seconds / 60, seconds % 60);
  }

  StandingLine line_;
  Clock::time_point began_ = Clock::now();
  Clock::time_point phase_began_ = began_;
  std::string phase_;
};

void print_split(const char* name, const SplitRecord& split) {
  const double tokens = static_cast<double>(std::max<int64_t>(split.tokens, 1));
  fmt::print("{:<11} {} documents, {} bytes, {} tokens ({:.2f} bytes a token)\n", name, grouped(split.documents),
             grouped(split.text_bytes), grouped(split.tokens), static_cast<double>(split.text_bytes) / tokens);
}

void print_summary(const std::string& directory, const Corpus& corpus) {
  fmt::print("{}: {} files, vocabulary {}, data hash {:016x}\n", directory,
             grouped(std::ssize(corpus.manifest.sources)), grouped(corpus.tokenizer.vocab_size()), corpus.hash);
  print_split("training", corpus.manifest.train);
  print_split("validation", corpus.manifest.validation);
  if (corpus.manifest.near_duplicates > 0) {
    fmt::print("{} documents were moved from validation to training because they resemble training documents\n",
               grouped(corpus.manifest.near_duplicates));
  }
}

// One line, whatever the text holds; bytes that are no characters, such as at a cut, become U+FFFD.
std::string visible(std::string_view text) {
  std::string line;
  while (!text.empty()) {
    const size_t good = invalid_utf8(text);
    for (const char c : text.substr(0, good)) {
      const auto code = static_cast<unsigned char>(c);
      line += c == '\n' ? "\\n" : code < 0x20 || code == 0x7f ? fmt::format("\\x{:02x}", code) : std::string(1, c);
    }
    text.remove_prefix(good);
    if (text.empty()) break;
    line += "\xEF\xBF\xBD";
    text.remove_prefix(1);
  }
  return line;
}

constexpr int64_t kSampleTokens = 64;

void print_sample(const Corpus& corpus, const TokenStream& stream, int64_t start) {
  std::vector<int32_t> tokens(static_cast<size_t>(std::min(kSampleTokens, stream.size() - start)));
  stream.read(start, tokens);
  std::vector<int64_t> borders;
  stream.document_starts(start, start + std::ssize(tokens), borders);
  fmt::print("  token {}: ", grouped(start));
  int64_t begin = start;
  borders.push_back(start + std::ssize(tokens));
  for (const int64_t border : borders) {
    const auto part =
        std::span(tokens).subspan(static_cast<size_t>(begin - start), static_cast<size_t>(border - begin));
    fmt::print("{}{}", visible(corpus.tokenizer.decode(part)), border == borders.back() ? "\n" : "[document]");
    begin = border;
  }
}

void print_samples(const Corpus& corpus, const char* name, const TokenStream& stream) {
  if (stream.size() == 0) return;
  fmt::print("\n{}, {} tokens from each of a few places; [document] marks where one starts:\n", name, kSampleTokens);
  constexpr int64_t kSamples = 4;
  const int64_t last = std::max<int64_t>(stream.size() - kSampleTokens, 0);
  for (int64_t i = 0; i < kSamples; ++i) {
    if (i == 0 || last * i / (kSamples - 1) > last * (i - 1) / (kSamples - 1)) {
      print_sample(corpus, stream, last * i / (kSamples - 1));
    }
  }
}

void build(const CorpusOptions& options) {
  const DeferredSignals signals;
  CorpusLine line;
  const CorpusOutcome outcome = build_corpus(options, [&](const CorpusProgress& progress) {
    // Seldom seen: the signal ends the process as soon as it is no longer held back.
    if (signals.arrived()) user_error("{} was not made: interrupted; start again", options.directory);
    line.show(progress);
  });
  line.clear();
  if (outcome == CorpusOutcome::was_there) {
    fmt::print("{} was made from the same files and settings already; nothing is to do\n", options.directory);
  }
  print_summary(options.directory, open_corpus(options.directory));
}

void show(const std::string& directory) {
  const Corpus corpus = open_corpus(directory);
  print_summary(directory, corpus);
  print_samples(corpus, "training", corpus.train);
  print_samples(corpus, "validation", corpus.validation);
}

void verify(const std::string& directory) {
  const Corpus corpus = open_corpus(directory);
  CorpusLine line;
  const int64_t total = corpus.train.size() + corpus.validation.size();
  int64_t done = 0;
  for (const TokenStream* stream : {&corpus.train, &corpus.validation}) {
    for (const ShardReader& shard : stream->shards()) {
      shard.verify();
      done += shard.tokens();
      line.show({"verifying", done, total});
    }
  }
  line.clear();
  fmt::print("{}: every block of {} tokens is as it was written\n", directory, grouped(total));
}

void add_build(CLI::App& parent) {
  auto options = std::make_shared<CorpusOptions>();
  CLI::App* command = parent.add_subcommand("build", "Make a data directory from text");
  command
      ->add_option(
          "PATH", options->paths,
          "Files, or directories with files: .jsonl (a document a line, in its field \"text\") or plain text, as "
          "they are or compressed (.gz, .zst)")
      ->required();
  command->add_option("--out", options->directory, "The directory to make; an older one is replaced")->required();
  CLI::Option* vocab_size = command->add_option("--vocab-size", options->vocab_size,
                                                "Tokens of the tokenizer to learn; 256 means plain bytes");
  CLI::Option* tokenizer =
      command->add_option("--tokenizer", options->tokenizer, "A tokenizer.json (byte-level BPE) to use instead");
  vocab_size->excludes(tokenizer);
  command->add_option("--validation", options->validation_fraction, "Share of the documents to hold out")
      ->capture_default_str();
  command->add_option("--seed", options->seed, "Picks the documents to hold out")->capture_default_str();
  command->add_option("--threads", options->threads, "Threads; 0 for one a core")->capture_default_str();
  command->final_callback([options, vocab_size, tokenizer] {
    if (vocab_size->count() + tokenizer->count() == 0) {
      user_error("no tokenizer is asked for; add --vocab-size N to learn one, or --tokenizer FILE");
    }
    build(*options);
  });
}

void add_reader(CLI::App& parent, const char* name, const char* help, void (*run)(const std::string&)) {
  auto directory = std::make_shared<std::string>();
  CLI::App* command = parent.add_subcommand(name, help);
  command->add_option("DIR", *directory, "A data directory")->required();
  command->final_callback([directory, run] { run(*directory); });
}

}  // namespace

Registered register_data(CLI::App& app) {
  CLI::App* command = app.add_subcommand("data", "Make text ready to train on, and look at the result");
  command->require_subcommand(1);
  add_build(*command);
  add_reader(*command, "show", "Print counts and samples of a data directory", show);
  add_reader(*command, "verify", "Check every byte of a data directory", verify);
  return {command, [] {}};
}

}  // namespace centavo
