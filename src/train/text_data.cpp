#include "train/text_data.h"

#include <xxhash.h>

#include <algorithm>
#include <cstddef>

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

}  // namespace

ByteText::ByteText(const std::string& path, double validation_fraction, int64_t seq_len)
    : file_(path), seq_len_(seq_len) {
  CHECK(seq_len >= 1 && validation_fraction >= 0 && validation_fraction < 1, "seq_len {}, validation_fraction {}",
        seq_len, validation_fraction);
  const std::string_view text = file_.view();
  if (text.empty()) user_error("text file {} is empty: give a text of at least {} bytes", path, seq_len + 1);
  const size_t held_out = static_cast<size_t>(static_cast<double>(text.size()) * validation_fraction);
  train_ = text.substr(0, text.size() - held_out);
  validation_ = text.substr(text.size() - held_out);
  require_one_window(path, "training", train_);
  if (validation_fraction > 0) require_one_window(path, "validation", validation_);
}

void ByteText::require_one_window(const std::string& path, const char* name, std::string_view split) const {
  const int64_t needed = seq_len_ + 1;
  if (static_cast<int64_t>(split.size()) >= needed) return;
  user_error(
      "text file {} has {} bytes, of which the {} split gets {} but needs seq_len + 1 = {}: "
      "give a longer text, lower seq_len or change validation_fraction",
      path, size_bytes(), name, split.size(), needed);
}

void ByteText::train_sample(uint64_t seed, int64_t index, std::span<int32_t> tokens, std::span<int32_t> targets) const {
  CHECK(index >= 0, "sample {}", index);
  const int64_t per_epoch = train_windows();
  const uint64_t epoch = static_cast<uint64_t>(index / per_epoch);
  const RandomStream order = epoch_stream(seed, epoch, kOrderStream);
  const int64_t window = permuted(index % per_epoch, per_epoch, order.key, order.stream);
  const int64_t shift = below(seq_len_, epoch_stream(seed, epoch, kShiftStream));
  const int64_t last = static_cast<int64_t>(train_.size()) - 1 - seq_len_;
  read(train_, std::min(shift + window * seq_len_, last), tokens, targets);
}

void ByteText::validation_sample(int64_t index, std::span<int32_t> tokens, std::span<int32_t> targets) const {
  CHECK(0 <= index && index < validation_windows(), "window {} of {}", index, validation_windows());
  read(validation_, index * seq_len_, tokens, targets);
}

void ByteText::read(std::string_view split, int64_t start, std::span<int32_t> tokens,
                    std::span<int32_t> targets) const {
  const size_t length = static_cast<size_t>(seq_len_);
  CHECK(tokens.size() == length && targets.size() == length, "{} tokens, {} targets", tokens.size(), targets.size());
  const char* bytes = split.data() + start;
  for (size_t t = 0; t < length; ++t) {
    tokens[t] = static_cast<uint8_t>(bytes[t]);
    targets[t] = static_cast<uint8_t>(bytes[t + 1]);
  }
}

uint64_t ByteText::hash() const { return XXH3_64bits(file_.view().data(), file_.view().size()); }

}  // namespace centavo
