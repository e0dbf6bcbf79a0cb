#include "data/sampler.h"

#include <algorithm>
#include <string_view>

#include "base/errors.h"
#include "base/rng.h"
#include "data/permutation.h"

namespace centavo {
namespace {

constexpr std::string_view kShiftStream = "text.shift";
constexpr std::string_view kOrderStream = "text.order";

RandomStream epoch_stream(uint64_t seed, uint64_t epoch, std::string_view use) {
  return random_stream(seed ^ stream_of(use.data(), use.size()), epoch, 0, 0);
}

// Uniform in [0, n).
int64_t below(int64_t n, const RandomStream& random) {
  return std::min(n - 1, static_cast<int64_t>(random.uniform(0) * static_cast<double>(n)));
}

void read_window(const TokenStream& stream, int64_t start, int64_t size, Window& window) {
  window.tokens.resize(static_cast<size_t>(size));
  stream.read(start, window.tokens);
  stream.document_starts(start, start + size, window.starts);
  for (int64_t& document : window.starts) document -= start;
  window.first_target = 0;
}

}  // namespace

TrainingSampler::TrainingSampler(const TokenStream& stream, int64_t seq_len, uint64_t seed)
    : stream_(stream), seq_len_(seq_len), seed_(seed), windows_((stream.size() - 1) / seq_len) {
  CHECK(seq_len >= 1, "seq_len {}", seq_len);
  if (stream.size() < seq_len + 1) {
    user_error("the training split has {} tokens but needs seq_len + 1 = {}: give more text or lower seq_len",
               stream.size(), seq_len + 1);
  }
}

int64_t TrainingSampler::start(int64_t index) const {
  CHECK(index >= 0, "sample {}", index);
  const uint64_t epoch = static_cast<uint64_t>(index / windows_);
  const RandomStream order = epoch_stream(seed_, epoch, kOrderStream);
  const int64_t window = permuted(index % windows_, windows_, order.key, order.stream);
  const int64_t shift = below(seq_len_, epoch_stream(seed_, epoch, kShiftStream));
  return std::min(shift + window * seq_len_, stream_.size() - 1 - seq_len_);
}

void TrainingSampler::read(int64_t index, Window& window) const {
  read_window(stream_, start(index), seq_len_ + 1, window);
}

ValidationWindows::ValidationWindows(const TokenStream& stream, int64_t seq_len)
    : stream_(stream), seq_len_(seq_len), windows_((stream.size() - 1 + seq_len - 1) / seq_len) {
  CHECK(seq_len >= 1, "seq_len {}", seq_len);
  if (stream.size() < 2) {
    user_error("the validation split has {} tokens and nothing to predict: give more text or hold out more of it",
               stream.size());
  }
}

void ValidationWindows::read(int64_t index, Window& window) const {
  CHECK(0 <= index && index < windows_, "window {} of {}", index, windows_);
  const int64_t unseen = index * seq_len_;
  const int64_t start = std::clamp<int64_t>(stream_.size() - 1 - seq_len_, 0, unseen);
  read_window(stream_, start, std::min(seq_len_ + 1, stream_.size() - start), window);
  window.first_target = unseen - start;
}

}  // namespace centavo
