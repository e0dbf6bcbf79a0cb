#include "train/chart.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace centavo {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using Texts = std::vector<std::string>;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInf = std::numeric_limits<double>::infinity();

Texts labels(const Axis& axis, Scale scale = Scale::linear) { return tick_labels(axis, scale).texts; }

TEST(ChartAxis, TicksAreNice) {
  EXPECT_EQ(labels(linear_axis(2.1, 9.7, 5)), (Texts{"2", "4", "6", "8", "10"}));
  EXPECT_EQ(labels(linear_axis(0, 1, 5)), (Texts{"0", "0.2", "0.4", "0.6", "0.8", "1.0"}));
  EXPECT_EQ(labels(linear_axis(-1, 1, 4)), (Texts{"-1.0", "-0.5", "0", "0.5", "1.0"}));
  EXPECT_EQ(labels(linear_axis(1.23, 1.24, 5)), (Texts{"1.230", "1.232", "1.234", "1.236", "1.238", "1.240"}));
  EXPECT_EQ(labels(linear_axis(0, 87654, 5)), (Texts{"0", "20 k", "40 k", "60 k", "80 k", "100 k"}));
  EXPECT_EQ(labels(exact_axis(0, 2100, 5)), (Texts{"0", "500", "1000", "1500", "2000"}));
}

TEST(ChartAxis, SmallValuesTakeOutAPowerOfTen) {
  const TickLabels small = tick_labels(linear_axis(0, 8e-4, 5), Scale::linear);
  EXPECT_EQ(small.texts, (Texts{"0", "2", "4", "6", "8"}));
  EXPECT_EQ(small.factor, "×10⁻⁴");
}

TEST(ChartAxis, ConstantsGetARange) {
  for (const double value : {0.0, 3.0, -3.0, 1e-12, 1e20}) {
    const Axis axis = linear_axis(value, value, 5);
    EXPECT_LT(axis.low, axis.high) << value;
    EXPECT_LE(axis.low, value);
    EXPECT_GE(axis.high, value);
    EXPECT_GE(axis.ticks.size(), 2u) << value;
  }
}

// Whatever the range: a few ticks, all inside, covering it.
TEST(ChartAxis, TicksCoverTheRange) {
  for (int e = -20; e <= 20; ++e) {
    for (const double low : {-0.77, 0.0, 0.31, 0.9999}) {
      const double scale = std::pow(10, e);
      const Axis axis = linear_axis(low * scale, 1.0 * scale, 5);
      EXPECT_LE(axis.low, low * scale * (1 + 1e-9));
      EXPECT_GE(axis.high, scale * (1 - 1e-9));
      EXPECT_GE(axis.ticks.size(), 3u);
      EXPECT_LE(axis.ticks.size(), 8u);
      EXPECT_EQ(labels(axis).size(), axis.ticks.size());
    }
  }
}

TEST(ChartAxis, Logarithmic) {
  EXPECT_EQ(labels(logarithmic_axis(0.5, 2000), Scale::logarithmic), (Texts{"1", "10", "100", "1000"}));
  EXPECT_EQ(labels(logarithmic_axis(2, 90), Scale::logarithmic), (Texts{"2", "5", "10", "20", "50", "100"}));
  EXPECT_EQ(labels(logarithmic_axis(1e-6, 1e-4), Scale::logarithmic), (Texts{"10⁻⁶", "10⁻⁵", "10⁻⁴"}));
  EXPECT_LE(logarithmic_axis(1e-29, 1e29).ticks.size(), 7u);
  const Axis axis = logarithmic_axis(0.5, 2000);
  EXPECT_DOUBLE_EQ(position(axis, Scale::logarithmic, axis.low), 0);
  EXPECT_DOUBLE_EQ(position(axis, Scale::logarithmic, axis.high), 1);
}

std::vector<Point> wave(size_t count) {
  std::vector<Point> points;
  for (size_t i = 0; i < count; ++i) points.push_back({static_cast<double>(i), std::sin(static_cast<double>(i) / 300)});
  return points;
}

TEST(ChartPoints, DownsamplingKeepsSpikesAndEnds) {
  std::vector<Point> points = wave(100000);
  points[31234].y = 17;
  points[77777].y = -9;
  const std::vector<Point> few = downsample(points, 1500);
  EXPECT_LE(few.size(), 1500u);
  EXPECT_GT(few.size(), 1000u);
  EXPECT_EQ(few.front(), points.front());
  EXPECT_EQ(few.back(), points.back());
  EXPECT_THAT(few, ::testing::Contains(points[31234]));
  EXPECT_THAT(few, ::testing::Contains(points[77777]));
  for (size_t i = 1; i < few.size(); ++i) ASSERT_LT(few[i - 1].x, few[i].x);
  EXPECT_EQ(downsample(wave(1500), 1500), wave(1500));
}

TEST(ChartPoints, DownsamplingKeepsLongGaps) {
  std::vector<Point> points = wave(10000);
  for (size_t i = 4000; i < 6000; ++i) points[i].y = kNan;
  const std::vector<Point> few = downsample(points, 100);
  EXPECT_LE(few.size(), 100u);
  const auto is_gap = [](const Point& p) { return !std::isfinite(p.y); };
  EXPECT_GT(std::count_if(few.begin(), few.end(), is_gap), 5);
}

TEST(ChartPoints, SmoothingIsAMeanOverFiniteNeighbours) {
  const std::vector<Point> points = {{1, 10}, {2, 0}, {3, 3}, {4, 6}, {5, kNan}, {6, 2}, {7, 4}};
  const std::vector<Point> means = smooth(points, 1);
  EXPECT_EQ(means[0].y, 10);
  EXPECT_DOUBLE_EQ(means[1].y, 13.0 / 3);
  EXPECT_DOUBLE_EQ(means[2].y, 3);
  EXPECT_DOUBLE_EQ(means[3].y, 4.5);
  EXPECT_TRUE(std::isnan(means[4].y));
  EXPECT_DOUBLE_EQ(means[5].y, 3);
  EXPECT_DOUBLE_EQ(means[6].y, 3);
}

TEST(ChartPoints, OneHugeValueDoesNotSpoilLaterMeans) {
  std::vector<Point> points(1000, Point{0, 1});
  points[10].y = 1e25;
  EXPECT_EQ(smooth(points, 5)[500].y, 1);
}

Chart chart_of(std::vector<Point> points) {
  Chart chart = {.title = "Loss", .unit = "nats"};
  chart.series = {{"training", "first", Mark::line, std::move(points)}};
  return chart;
}

TEST(ChartHtml, AHandComputedLine) {
  const std::string page = chart_html(chart_of({{0, 0}, {5, 5}, {10, 10}}));
  EXPECT_THAT(page, HasSubstr("data-name=\"training\" d=\"M0.00 1000.00L500.00 500.00L1000.00 0.00\""));
  EXPECT_THAT(page, HasSubstr("data-x0=\"0\" data-x1=\"10\" data-y0=\"0\" data-y1=\"10\""));
  EXPECT_THAT(page, HasSubstr("<span style=\"top:80.00%\">2</span>"));
}

TEST(ChartHtml, GapsBreakTheLine) {
  const std::string page = chart_html(chart_of({{0, 0}, {5, kNan}, {6, 10}, {7, kInf}, {8, 5}, {10, 5}}));
  EXPECT_THAT(page, HasSubstr("d=\"M0.00 1000.00h0M600.00 0.00h0M800.00 500.00L1000.00 500.00\""));
}

TEST(ChartHtml, NothingToDrawIsNoError) {
  for (const std::vector<Point>& points : std::vector<std::vector<Point>>{{}, {{1, 2}}, {{1, kNan}}, {{0, 0}}}) {
    for (const Scale scale : {Scale::linear, Scale::logarithmic}) {
      Chart chart = chart_of(points);
      chart.scale = scale;
      const std::string page = chart_html(chart);
      EXPECT_THAT(page, HasSubstr("</figure>"));
      EXPECT_THAT(page, Not(HasSubstr("nan")));
      EXPECT_THAT(page, Not(HasSubstr("inf")));
    }
  }
}

TEST(ChartHtml, ExtremeValuesStayInBounds) {
  const std::string page = chart_html(chart_of({{0, 1e300}, {1, -1e300}, {2, 1e29}, {3, 1}, {4, -1e29}}));
  EXPECT_THAT(page, Not(HasSubstr("nan")));
  EXPECT_THAT(page, Not(HasSubstr("inf")));
}

TEST(ChartHtml, OneSpikeDoesNotFlattenAFaintSeries) {
  std::vector<Point> points = wave(1000);
  points[500].y = 1e6;
  Chart chart = chart_of(points);
  chart.series[0].mark = Mark::faint;
  EXPECT_THAT(chart_html(chart), HasSubstr("data-y1=\"1\""));
}

TEST(ChartHtml, NamesAreEscaped) {
  Chart chart = chart_of({{0, 1}, {1, 2}});
  chart.title = chart.unit = chart.series[0].name = "\"><script>";
  chart.levels = {{"<b>", 1.5}};
  const std::string page = chart_html(chart);
  EXPECT_THAT(page, Not(HasSubstr("<script")));
  EXPECT_THAT(page, Not(HasSubstr("<b>")));
}

}  // namespace
}  // namespace centavo
