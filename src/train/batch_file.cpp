#include "train/batch_file.h"

#include <algorithm>
#include <array>
#include <bit>

#include "base/errors.h"
#include "base/rng.h"
#include "train/token_feed.h"

namespace centavo {
namespace {

static_assert(std::endian::native == std::endian::little);

constexpr int64_t kFormat = 1;
constexpr size_t kHeaderBytes = 4 * sizeof(int64_t);

template <class T>
std::string_view bytes_of(std::span<const T> values) {
  return {reinterpret_cast<const char*>(values.data()), values.size_bytes()};
}

// `next(i)` is micro-batch i.
template <class F>
void write_batches(const RunConfig& config, int64_t batches, const std::string& path, const F& next) {
  if (config.documents != "joined") {
    user_error("{}: a file of micro-batches does not say where documents end; set documents = \"joined\"", path);
  }
  const std::array<int64_t, 4> header = {kFormat, batches, config.micro_batch, config.seq_len};
  FileWriter file(path);
  file.append(bytes_of(std::span<const int64_t>(header)));
  for (int64_t i = 0; i < batches; ++i) {
    const TokenBatch& batch = next(i);
    file.append(bytes_of(std::span<const int32_t>(batch.tokens)));
    file.append(bytes_of(std::span<const int32_t>(batch.targets)));
  }
  file.commit();
}

// seq_len random tokens, and the target of the last.
void draw_window(const RandomStream& random, uint64_t first, int64_t vocab_size, Window& window) {
  for (size_t t = 0; t < window.tokens.size(); ++t) {
    window.tokens[t] = static_cast<int32_t>(random.bits(first + t) % static_cast<uint32_t>(vocab_size));
  }
}

}  // namespace

void write_training_batches(const Corpus& corpus, const RunConfig& config, int64_t steps, const std::string& path) {
  TokenFeed feed(corpus, config);
  write_batches(config, steps * config.grad_accum_steps, path,
                [&](int64_t i) -> const TokenBatch& { return feed.training_batch(i); });
}

void write_validation_batches(const Corpus& corpus, const RunConfig& config, const std::string& path) {
  TokenFeed feed(corpus, config);
  const int64_t windows = feed.validation_windows();
  if (windows == 0) user_error("{}: the data has no validation split; make it with --validation 0.01", path);
  write_batches(config, (windows + config.micro_batch - 1) / config.micro_batch, path,
                [&](int64_t i) -> const TokenBatch& { return feed.validation_batch(i, windows); });
}

void write_random_batches(const RunConfig& config, int64_t steps, const std::string& path) {
  const RandomStream random = {static_cast<uint64_t>(config.seed), stream_of("tokens", 6)};
  const auto length = static_cast<size_t>(config.seq_len + 1);
  std::vector<Window> windows(static_cast<size_t>(config.micro_batch));
  for (Window& window : windows) window.tokens.resize(length);
  TokenBatch batch;
  write_batches(config, steps * config.grad_accum_steps, path, [&](int64_t i) -> const TokenBatch& {
    uint64_t first = static_cast<uint64_t>(i) * windows.size() * length;
    for (Window& window : windows) {
      draw_window(random, first, config.model.vocab_size, window);
      first += length;
    }
    pack(windows, config.seq_len, DocumentBorder::predicted, batch, Documents::joined);
    return batch;
  });
}

BatchFile::BatchFile(const std::string& path) : file_(path) {
  const std::string_view bytes = file_.view();
  if (bytes.size() >= kHeaderBytes) header_ = {reinterpret_cast<const int64_t*>(bytes.data()), 4};
  const bool known = !header_.empty() && header_[0] == kFormat && std::ranges::min(header_) > 0;
  // By division: products of a damaged header may be any number.
  const auto whole = [&] {
    const auto pairs = static_cast<int64_t>((bytes.size() - kHeaderBytes) / (2 * sizeof(int32_t)));
    const bool fits = pairs / sequences() / seq_len() == batches();
    return fits && kHeaderBytes + static_cast<size_t>(batches() * sequences() * seq_len()) * 2 * sizeof(int32_t) ==
                       bytes.size();
  };
  if (!known || !whole()) {
    user_error("{} is no whole file of micro-batches; write it anew", path);
  }
}

std::span<const int32_t> BatchFile::values(int64_t row) const {
  const auto count = static_cast<size_t>(sequences() * seq_len());
  const auto* first = reinterpret_cast<const int32_t*>(file_.view().data() + kHeaderBytes);
  return {first + static_cast<size_t>(row) * count, count};
}

TokenBatch BatchFile::batch(int64_t index) const {
  CHECK(index >= 0 && index < batches(), "micro-batch {} of {}", index, batches());
  TokenBatch batch;
  batch.tokens.assign(tokens(index).begin(), tokens(index).end());
  batch.targets.assign(targets(index).begin(), targets(index).end());
  for (int64_t i = 0; i < sequences() * seq_len(); ++i) {
    batch.positions.push_back(static_cast<int32_t>(i % seq_len()));
  }
  for (int64_t s = 0; s <= sequences(); ++s) batch.cu_seqlens.push_back(static_cast<int32_t>(s * seq_len()));
  return batch;
}

}  // namespace centavo
