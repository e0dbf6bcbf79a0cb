// The tokenizer measured and compared: bench/tokenize_peer.py and bench/tokenizer_conformance.py run this program.
//
//   bench_tokenize train SIZE TEXT OUT.json      learns a vocabulary of SIZE tokens from the documents of TEXT
//   bench_tokenize speed TOKENIZER TEXT THREADS  encodes the documents of TEXT; a line of MB/s, ids, XXH3-64 of the ids
//   bench_tokenize ids TOKENIZER                 stdin: strings, each after its length; stdout: as many lists of ids,
//   each
//                                                after its count; all numbers 32 bits, little-endian
//
// A document is a piece of the text of at most 64 KiB, cut behind the last line end in it, else there.
#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <limits>
#include <optional>
#include <thread>

#include "base/errors.h"
#include "base/files.h"
#include "data/bpe_trainer.h"
#include "data/tokenizer.h"

namespace centavo {
namespace {

constexpr size_t kDocument = size_t{64} << 10;
constexpr int kRepeats = 5;
constexpr int64_t kMostPieces = 1 << 22;

using Clock = std::chrono::steady_clock;
using Ids = std::vector<int32_t>;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

std::vector<std::string_view> documents_of(std::string_view text) {
  std::vector<std::string_view> documents;
  while (!text.empty()) {
    size_t size = std::min(text.size(), kDocument);
    const size_t line_end = text.substr(0, size).rfind('\n');
    if (size < text.size() && line_end != std::string_view::npos) size = line_end + 1;
    documents.push_back(text.substr(0, size));
    text.remove_prefix(size);
  }
  return documents;
}

// Thread t of n encodes the t-th n-th of the documents, with an encoder made beforehand as a run makes it once.
std::vector<Ids> encode_all(const std::vector<std::string_view>& documents, std::vector<Encoder>& encoders) {
  std::vector<Ids> ids(encoders.size());
  std::vector<std::thread> threads;
  for (size_t t = 0; t < encoders.size(); ++t) {
    threads.emplace_back([&, t] {
      const size_t end = documents.size() * (t + 1) / encoders.size();
      for (size_t i = documents.size() * t / encoders.size(); i < end; ++i) encoders[t].encode(documents[i], ids[t]);
    });
  }
  for (std::thread& thread : threads) thread.join();
  return ids;
}

struct Measured {
  double seconds = std::numeric_limits<double>::infinity();
  std::vector<Ids> ids;
};

// The best of some passes, each with empty caches.
Measured measure(const Tokenizer& tokenizer, const std::vector<std::string_view>& documents, int thread_count) {
  Measured best;
  for (int i = 0; i < kRepeats; ++i) {
    std::vector<Encoder> encoders;
    for (int t = 0; t < thread_count; ++t) encoders.emplace_back(tokenizer);
    const auto start = Clock::now();
    best.ids = encode_all(documents, encoders);
    best.seconds = std::min(best.seconds, seconds_since(start));
  }
  return best;
}

uint64_t hash_of(const std::vector<Ids>& ids) {
  XXH3_state_t* state = XXH3_createState();
  XXH3_64bits_reset(state);
  for (const Ids& part : ids) XXH3_64bits_update(state, part.data(), part.size() * sizeof(int32_t));
  const uint64_t hash = XXH3_64bits_digest(state);
  XXH3_freeState(state);
  return hash;
}

void speed(const std::string& tokenizer_path, const std::string& text_path, int thread_count) {
  const Tokenizer tokenizer = Tokenizer::read(tokenizer_path);
  const std::string text = read_file(text_path);
  const Measured best = measure(tokenizer, documents_of(text), thread_count);
  size_t count = 0;
  for (const Ids& part : best.ids) count += part.size();
  fmt::print("{:.1f} {} {:016x}\n", static_cast<double>(text.size()) / 1e6 / best.seconds, count, hash_of(best.ids));
}

void train(int64_t vocab_size, const std::string& text_path, const std::string& out_path) {
  const std::string text = read_file(text_path);
  auto start = Clock::now();
  PieceCounts counts(kMostPieces);
  for (const std::string_view document : documents_of(text)) counts.add(document);
  const double counting = seconds_since(start);
  start = Clock::now();
  const Tokenizer tokenizer = train_bpe(counts, vocab_size);
  fmt::print("{:.1f} MB: counted {} pieces in {:.2f} s, learnt {} tokens in {:.2f} s\n",
             static_cast<double>(text.size()) / 1e6, counts.distinct(), counting, vocab_size, seconds_since(start));
  write_file_atomic(out_path, tokenizer.json());
}

std::optional<uint32_t> read_number() {
  uint32_t number = 0;
  if (std::fread(&number, sizeof number, 1, stdin) != 1) return std::nullopt;
  return number;
}

void serve(const std::string& tokenizer_path) {
  const Tokenizer tokenizer = Tokenizer::read(tokenizer_path);
  Encoder encoder(tokenizer);
  while (const std::optional<uint32_t> length = read_number()) {
    std::string text(*length, '\0');
    if (std::fread(text.data(), 1, text.size(), stdin) != text.size()) user_error("stdin ends inside a string");
    Ids ids;
    encoder.encode(text, ids);
    const auto count = static_cast<uint32_t>(ids.size());
    std::fwrite(&count, sizeof count, 1, stdout);
    std::fwrite(ids.data(), sizeof(int32_t), ids.size(), stdout);
  }
}

void run(const std::vector<std::string>& words) {
  if (words.size() == 4 && words[0] == "train") return train(std::atoll(words[1].c_str()), words[2], words[3]);
  if (words.size() == 4 && words[0] == "speed")
    return speed(words[1], words[2], std::max(1, std::atoi(words[3].c_str())));
  if (words.size() == 2 && words[0] == "ids") return serve(words[1]);
  user_error("give train SIZE TEXT OUT.json, or speed TOKENIZER TEXT THREADS, or ids TOKENIZER");
}

}  // namespace
}  // namespace centavo

int main(int argc, char** argv) {
  try {
    centavo::run({argv + 1, argv + argc});
  } catch (const std::exception& error) {
    fmt::print(stderr, "bench_tokenize: {}\n", error.what());
    return 2;
  }
  return 0;
}
