#include "train/progress.h"

#include <fmt/format.h>

#include <chrono>
#include <cmath>

#include "train/units.h"

namespace centavo {
namespace {

constexpr double kLiveSeconds = 0.1;

// Throws nothing when the reader is gone: a run does not end for that. The stream keeps its error for who asks.
void print_to(std::FILE* out, const std::string& text) {
  std::fwrite(text.data(), 1, text.size(), out);
  std::fflush(out);
}

}  // namespace

double steady_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

std::string duration_in_words(double seconds) {
  if (!(seconds >= 0 && seconds < 1e6)) return "?";
  const auto s = static_cast<int64_t>(seconds);
  if (s < 60) return fmt::format("{}s", s);
  if (s < 3600) return fmt::format("{}m{:02}s", s / 60, s % 60);
  return fmt::format("{}h{:02}m", s / 3600, s / 60 % 60);
}

std::string standing_line(const Standing& s) {
  std::string line = fmt::format("step {:>6}/{}  loss {:.4f}  {} tokens/s", s.step, s.max_steps, s.loss,
                                 grouped(std::llround(s.tokens_per_second)));
  if (s.share_of_peak) line += fmt::format("  {:.0f}% of peak", 100 * *s.share_of_peak);
  line += fmt::format("  {} left", duration_in_words(s.seconds_left));
  if (s.cost) line += fmt::format("  ${:.4f}", *s.cost);
  return line;
}

ProgressLog::ProgressLog(std::FILE* out, Kind kind, int64_t log_every)
    : out_(out), kind_(kind), log_every_(log_every) {}

void ProgressLog::standing(const Standing& s) {
  if (out_ == nullptr) return;
  const bool last = s.step == s.max_steps;
  if (kind_ == Kind::lines) {
    if (last || s.step % log_every_ == 0) line(standing_line(s));
    return;
  }
  const double now = steady_seconds();
  if (!last && open_ && now - last_ < kLiveSeconds) return;
  last_ = now;
  open_ = true;
  print_to(out_, "\r\033[K" + standing_line(s));
}

void ProgressLog::line(const std::string& text) {
  if (out_ == nullptr) return;
  close();
  print_to(out_, text + "\n");
}

void ProgressLog::close() {
  if (open_) print_to(out_, "\n");
  open_ = false;
}

}  // namespace centavo
