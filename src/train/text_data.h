// A text file as byte tokens (vocabulary 256) and the order in which training reads it.
//
// The first part of the file trains, the last `validation_fraction` of its bytes validates. A sample is seq_len + 1
// bytes b: tokens = b[0, seq_len), targets = b[1, seq_len]. With L = seq_len and n bytes of a split:
//
//   windows            W = floor((n - 1) / L)
//   training sample i  epoch e = i / W;  k = permutation of epoch e at i mod W;  shift r of epoch e in [0, L)
//                      start = min(r + k L, n - 1 - L)
//   validation i       start = i L of the validation split
//
// The shift moves the window borders from epoch to epoch; the minimum keeps the last window inside the split, and the
// first r bytes rest for that epoch. Order and shift are a pure function of (seed, i): any rank can read any sample,
// and a resumed run reads what the uninterrupted one would have.
//
// Errors: a file that is missing, not readable, a directory, empty or shorter than one sample per split is a UserError.
// Hazard: the file is mapped; shortening it while it is read ends the process.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/files.h"
#include "data/tokenizer.h"

namespace centavo {

class ByteText {
 public:
  // Needs seq_len >= 1 and validation_fraction in [0, 1); the fraction 0 leaves no validation split.
  ByteText(const std::string& path, double validation_fraction, int64_t seq_len);

  int64_t train_windows() const { return windows(train_); }
  int64_t validation_windows() const { return windows(validation_); }

  // index >= 0; both spans hold seq_len elements.
  void train_sample(uint64_t seed, int64_t index, std::span<int32_t> tokens, std::span<int32_t> targets) const;
  // 0 <= index < validation_windows().
  void validation_sample(int64_t index, std::span<int32_t> tokens, std::span<int32_t> targets) const;

  int64_t size_bytes() const { return static_cast<int64_t>(file_.view().size()); }
  // XXH3-64 of the whole file; reads all of it.
  uint64_t hash() const;

 private:
  int64_t windows(std::string_view split) const { return (static_cast<int64_t>(split.size()) - 1) / seq_len_; }
  void require_one_window(const std::string& path, const char* name, std::string_view split) const;
  void read(std::string_view split, int64_t start, std::span<int32_t> tokens, std::span<int32_t> targets) const;

  MappedFile file_;
  int64_t seq_len_;
  std::string_view train_;
  std::string_view validation_;
};

}  // namespace centavo
