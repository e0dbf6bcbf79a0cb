#include "train/units.h"

#include <gtest/gtest.h>

#include <limits>

namespace centavo {
namespace {

TEST(Units, Grouped) {
  EXPECT_EQ(grouped(0), "0");
  EXPECT_EQ(grouped(999), "999");
  EXPECT_EQ(grouped(1000), "1,000");
  EXPECT_EQ(grouped(1234567), "1,234,567");
  EXPECT_EQ(grouped(-123), "-123");
  EXPECT_EQ(grouped(-1234), "-1,234");
  EXPECT_EQ(grouped(std::numeric_limits<int64_t>::min()), "-9,223,372,036,854,775,808");
}

TEST(Units, Significant) {
  EXPECT_EQ(significant(0, 3), "0");
  EXPECT_EQ(significant(1.5, 3), "1.50");
  EXPECT_EQ(significant(123.4, 3), "123");
  EXPECT_EQ(significant(0.00123, 3), "0.00123");
  EXPECT_EQ(significant(9.996, 3), "10.0");
  EXPECT_EQ(significant(-2.5, 2), "-2.5");
  EXPECT_EQ(significant(3.2e-7, 3), "3.2e-7");
  EXPECT_EQ(significant(9.96e-7, 3), "1.0e-6");
  EXPECT_EQ(significant(1e300, 3), "1.0e300");
  EXPECT_EQ(significant(std::numeric_limits<double>::quiet_NaN(), 3), "NaN");
  EXPECT_EQ(significant(-std::numeric_limits<double>::infinity(), 3), "−∞");
}

TEST(Units, Counts) {
  EXPECT_EQ(short_count(0), "0");
  EXPECT_EQ(short_count(950), "950");
  EXPECT_EQ(short_count(999.9), "1.00 k");
  EXPECT_EQ(short_count(1234), "1.23 k");
  EXPECT_EQ(short_count(8192000), "8.19 M");
  EXPECT_EQ(short_count(2.31e11), "231 G");
}

TEST(Units, Bytes) {
  EXPECT_EQ(bytes_text(0), "0 B");
  EXPECT_EQ(bytes_text(512), "512 B");
  EXPECT_EQ(bytes_text(1536), "1.50 KiB");
  EXPECT_EQ(bytes_text(int64_t{8} << 30), "8.00 GiB");
}

TEST(Units, Durations) {
  EXPECT_EQ(duration_text(0), "0 s");
  EXPECT_EQ(duration_text(0.42), "0.42 s");
  EXPECT_EQ(duration_text(59.4), "59 s");
  EXPECT_EQ(duration_text(192), "3 min 12 s");
  EXPECT_EQ(duration_text(59.6), "1 min 00 s");
  EXPECT_EQ(duration_text(2 * 3600 + 5 * 60 + 3), "2 h 05 min");
  EXPECT_EQ(duration_text(3599.7), "1 h 00 min");
  EXPECT_EQ(duration_text(3 * 86400 + 4 * 3600), "3 d 04 h");
  EXPECT_EQ(duration_text(std::numeric_limits<double>::quiet_NaN()), "?");
}

TEST(Units, Money) {
  EXPECT_EQ(money_text(0), "$0");
  EXPECT_EQ(money_text(0.0132), "$0.013");
  EXPECT_EQ(money_text(0.192), "$0.192");
  EXPECT_EQ(money_text(1.4), "$1.40");
  EXPECT_EQ(money_text(1234.5), "$1,234.50");
  EXPECT_EQ(money_text(0.9999), "$1.00");
}

TEST(Units, Dates) {
  EXPECT_EQ(date_text(0), "1970-01-01 00:00 UTC");
  EXPECT_EQ(date_text(1769861100), "2026-01-31 12:05 UTC");
  EXPECT_EQ(date_text(std::numeric_limits<int64_t>::max()), "?");
}

}  // namespace
}  // namespace centavo
