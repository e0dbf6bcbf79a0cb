#include "train/progress.h"

#include <gtest/gtest.h>

#include <limits>
#include <vector>

namespace centavo {
namespace {

Standing standing(int64_t step) {
  return {.step = step, .max_steps = 20, .loss = 3.14159, .tokens_per_second = 1234567.8, .seconds_left = 125};
}

// What the log prints for `steps`.
std::string printed(ProgressLog::Kind kind, const std::vector<int64_t>& steps) {
  std::FILE* file = std::tmpfile();
  ProgressLog log(file, kind, 10);
  for (const int64_t step : steps) log.standing(standing(step));
  log.line("validation");
  std::string text;
  std::rewind(file);
  for (int c = std::fgetc(file); c != EOF; c = std::fgetc(file)) text += static_cast<char>(c);
  std::fclose(file);
  return text;
}

TEST(Progress, TheLine) {
  Standing s = standing(7);
  EXPECT_EQ(standing_line(s), "step      7/20  loss 3.1416  1,234,568 tokens/s  2m05s left");
  s.share_of_peak = 0.414;
  s.cost = 0.01234;
  s.tokens_per_second = 999;
  EXPECT_EQ(standing_line(s), "step      7/20  loss 3.1416  999 tokens/s  41% of peak  2m05s left  $0.0123");
}

TEST(Progress, Durations) {
  EXPECT_EQ(duration_in_words(0), "0s");
  EXPECT_EQ(duration_in_words(59.9), "59s");
  EXPECT_EQ(duration_in_words(60), "1m00s");
  EXPECT_EQ(duration_in_words(3599), "59m59s");
  EXPECT_EQ(duration_in_words(7260), "2h01m");
  for (const double odd : {-1.0, 1e7, std::numeric_limits<double>::quiet_NaN()}) EXPECT_EQ(duration_in_words(odd), "?");
}

TEST(Progress, PlainLinesAreRare) {
  const std::string text = printed(ProgressLog::Kind::lines, {1, 9, 10, 11, 19, 20});
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 3) << text;
  EXPECT_EQ(text.find('\r'), std::string::npos);
}

TEST(Progress, TheLiveLineIsRewrittenAndEndedOnce) {
  const std::string text = printed(ProgressLog::Kind::live, {1, 2, 3, 20});
  EXPECT_TRUE(text.starts_with("\r\033[Kstep      1/20")) << text;
  EXPECT_NE(text.find("step     20/20"), std::string::npos);
  EXPECT_TRUE(text.ends_with("left\nvalidation\n")) << text;
}

// A run goes on when its reader is gone; the stream remembers.
TEST(Progress, AFullDeviceThrowsNothing) {
  for (const auto kind : {ProgressLog::Kind::lines, ProgressLog::Kind::live}) {
    std::FILE* full = std::fopen("/dev/full", "w");
    ASSERT_NE(full, nullptr);
    ProgressLog log(full, kind, 1);
    log.standing(standing(1));
    log.line("x");
    log.close();
    EXPECT_NE(std::ferror(full), 0);
    std::fclose(full);
  }
}

TEST(Progress, NothingWithoutAFile) {
  ProgressLog log(nullptr, ProgressLog::Kind::live, 1);
  log.standing(standing(1));
  log.line("x");
  log.close();
}

}  // namespace
}  // namespace centavo
