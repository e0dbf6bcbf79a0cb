// The line that says how a run stands.
//
//   step    120/600  loss 3.1416  12,345 tokens/s  41% of peak  2m05s left  $0.0123
//
// On a terminal it is rewritten in place, at most ten times a second; elsewhere it is a line each `log_every` steps.
// Time is the steady clock's, so a wall clock that is set back changes nothing. Writes that fail throw nothing;
// std::ferror tells of them.
#pragma once

#include <cstdint>
#include <cstdio>
#include <optional>
#include <string>

namespace centavo {

struct Standing {
  int64_t step = 0;  // done
  int64_t max_steps = 0;
  double loss = 0;
  double tokens_per_second = 0;
  std::optional<double> share_of_peak = {};
  double seconds_left = 0;
  std::optional<double> cost = {};  // dollars so far
};

std::string standing_line(const Standing& standing);

// 75 -> "1m15s"; "?" for what is not finite or beyond eleven days.
std::string duration_in_words(double seconds);

// Seconds on the steady clock, from an arbitrary start.
double steady_seconds();

class ProgressLog {
 public:
  enum class Kind : uint8_t { lines, live };

  // `out` null: nothing is printed. It must outlive the log.
  ProgressLog(std::FILE* out, Kind kind, int64_t log_every);

  void standing(const Standing& standing);
  // A line of its own; the live line before it stays.
  void line(const std::string& text);
  // Ends the live line.
  void close();

 private:
  std::FILE* out_;
  Kind kind_;
  int64_t log_every_;
  bool open_ = false;  // a live line stands unended
  double last_ = 0;    // when it was last written
};

}  // namespace centavo
