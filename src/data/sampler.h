// The order in which training and validation read a row of n tokens, in windows of L = seq_len tokens and the target of
// the last.
//
//   windows            W = floor((n - 1) / L)
//   training sample i  epoch e = i / W;  k = permutation of epoch e at i mod W;  shift r of epoch e in [0, L)
//                      start = min(r + k L, n - 1 - L)
//
// The shift moves the window borders from epoch to epoch; the minimum keeps the last window inside the row, and the
// first r tokens rest for that epoch. Order and shift are a pure function of (seed, i): any rank can read any sample,
// and a resumed run reads what the uninterrupted one would have.
//
//   validation         W = ceil((n - 1) / L), one after another; the last ends with the row, and the targets it shares
//                      with the window before are left out. So each of the n - 1 targets counts exactly once. A row
//                      of fewer than L + 1 tokens is one window that ends early
//
// Errors: a UserError when the row is too short, naming the split.
#pragma once

#include <cstdint>
#include <vector>

#include "data/token_stream.h"

namespace centavo {

// Token t of a window has the target tokens[t + 1]; it counts for t in [first_target, tokens.size() - 1).
struct Window {
  std::vector<int32_t> tokens;  // L + 1, or fewer when the row ends
  std::vector<int64_t> starts;  // where in `tokens` documents start, ascending
  int64_t first_target = 0;
};

// Several threads may read, each into its own window. The stream must outlive both classes.
class TrainingSampler {
 public:
  // Needs L >= 1 and at least L + 1 tokens.
  TrainingSampler(const TokenStream& stream, int64_t seq_len, uint64_t seed);

  int64_t windows() const { return windows_; }
  // The token that sample `index` >= 0 starts at.
  int64_t start(int64_t index) const;
  void read(int64_t index, Window& window) const;

 private:
  const TokenStream& stream_;
  int64_t seq_len_;
  uint64_t seed_;
  int64_t windows_;
};

class ValidationWindows {
 public:
  // Needs L >= 1 and at least two tokens.
  ValidationWindows(const TokenStream& stream, int64_t seq_len);

  int64_t windows() const { return windows_; }
  void read(int64_t index, Window& window) const;

 private:
  const TokenStream& stream_;
  int64_t seq_len_;
  int64_t windows_;
};

}  // namespace centavo
