#include "train/report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cmath>
#include <filesystem>

#include "base/errors.h"
#include "base/files.h"
#include "base/utf8.h"
#include "train/html.h"

namespace centavo {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::Not;

const std::string kHostile = "</script><b onload=alert(1)>\"'&\xff\x01<!--";

RunFacts facts(const std::string& text) {
  return {.name = text,
          .version = text,
          .commit = text,
          .command = text,
          .config = "key = \"" + text + "\"\n[" + text + "\n",
          .max_steps = 1000,
          .model = {{text, text}},
          .data = {text, 1, 2, 3, 4, text},
          .program_hash = text,
          .machine = {text, 2, 1 << 30, text, {{text, text}}},
          .threads = 2,
          .peak_flops = 1e11,
          .price_per_hour = 0.5,
          .memory = {{text, 1000, false}, {text, 9000, true}},
          .baselines = {{text, 2.5}}};
}

StepRecord step_record(int64_t step) {
  const auto x = static_cast<double>(step);
  return {.step = step,
          .tokens = step * 4096,
          .loss = 3 + 5 / x + 0.1 * std::sin(x),
          .lr = 1e-3,
          .grad_norm = 1 + 1 / x,
          .tok_s = 5000 + 100 * std::cos(x),
          .mfu = 0.5,
          .mem = 8000,
          .time = x,
          .cost = x * 0.5 / 3600};
}

MetricsFile run_of(int64_t steps, const std::string& text = "run") {
  MetricsFile metrics;
  metrics.starts = {{.step = 0, .unix_seconds = 1769861100, .facts = facts(text)}};
  for (int64_t step = 1; step <= steps; ++step) metrics.steps.push_back(step_record(step));
  return metrics;
}

void expect_whole_and_alone(const std::string& page) {
  EXPECT_TRUE(page.starts_with("<!doctype html>"));
  EXPECT_TRUE(page.ends_with("</html>\n"));
  EXPECT_EQ(to_utf8(page), page);
  for (const char* loaded : {"http", "src=", "href=", "url(", "@import", "<link"}) {
    EXPECT_THAT(page, Not(HasSubstr(loaded)));
  }
}

size_t count(const std::string& page, const std::string& part) {
  size_t found = 0;
  for (size_t at = page.find(part); at != page.npos; at = page.find(part, at + 1)) ++found;
  return found;
}

TEST(Html, EscapesAndRepairs) {
  EXPECT_EQ(html("a<b>&\"'\n\t"), "a&lt;b&gt;&amp;&quot;&#39;\n\t");
  EXPECT_EQ(html(std::string("\0\x1b\x7f\xff", 4)), "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
  EXPECT_EQ(html("na\xc3\xafve"), "na\xc3\xafve");
}

TEST(Report, ShowsWhatTheGpuTook) {
  MetricsFile metrics = run_of(20);
  EXPECT_THAT(report_html(metrics), Not(HasSubstr("GPU power")));
  const GpuUse use{.seconds = 10, .joules = 6000, .sm_mhz = 1500, .slowed = {{"power limit", 5}}, .slowed_seconds = 5};
  metrics.gpu = {{.step = 10, .use = use}, {.step = 20, .use = use}};
  const std::string page = report_html(metrics);
  expect_whole_and_alone(page);
  EXPECT_THAT(page, HasSubstr("GPU power"));
  EXPECT_THAT(page, HasSubstr("GPU clock"));
  EXPECT_THAT(page, HasSubstr("0.00333 kWh, 600 W on average, slowed down 50 % of the time (power limit 50 %)"));
}

TEST(Report, ShowsTheFiguresAskedForFirst) {
  MetricsFile metrics = run_of(400);
  metrics.validations = {{0, 9.5, 4.5, 1000, 400, 0.5}, {400, 3.25, 1.625, 1000, 400, 401}};
  const std::string page = report_html(metrics);
  expect_whole_and_alone(page);
  EXPECT_THAT(page, HasSubstr("1.625 <small>bits per byte"));
  EXPECT_THAT(page, HasSubstr("<span class=\"number\">2.500</span>"));  // the baseline
  EXPECT_THAT(page, HasSubstr("<span class=\"value\">1.64 M</span>"));  // tokens
  EXPECT_THAT(page, HasSubstr("<span class=\"value\">6 min 41 s</span>"));
  EXPECT_THAT(page, HasSubstr("<span class=\"value\">$0.056</span>"));
  EXPECT_THAT(page, HasSubstr("<span class=\"value\">50.0 %</span>"));
  EXPECT_THAT(page, HasSubstr("step 400 of 1,000"));
  EXPECT_THAT(page, HasSubstr("style=\"width:40.0%\""));
  EXPECT_EQ(count(page, "<figure"), 6u);
}

TEST(Report, HostileTextIsOnlyText) {
  MetricsFile metrics = run_of(3, kHostile);
  metrics.validations = {{2, 3, 1.5, 10, 4, 2}};
  metrics.samples = {{1, kHostile, kHostile}};
  const std::string page = report_html(metrics);
  expect_whole_and_alone(page);
  EXPECT_EQ(count(page, "<script"), 1u);
  EXPECT_EQ(count(page, "</script"), 1u);
  EXPECT_EQ(count(page, "<b onload"), 0u);
  EXPECT_EQ(count(page, "<!--"), 0u);
  EXPECT_THAT(page, HasSubstr("&lt;/script&gt;&lt;b onload=alert(1)&gt;&quot;&#39;&amp;\xef\xbf\xbd\xef\xbf\xbd"));
}

TEST(Report, AnyMomentOfARunGivesAPage) {
  MetricsFile begun = run_of(0);
  expect_whole_and_alone(report_html(begun));
  EXPECT_THAT(report_html(begun), HasSubstr("No step has finished yet"));
  begun.validations = {{0, 9.5, 4.5, 1000, 400, 0.5}};
  expect_whole_and_alone(report_html(begun));
  const std::string one = report_html(run_of(1));
  expect_whole_and_alone(one);
  EXPECT_THAT(one, HasSubstr("no validation so far"));
}

TEST(Report, LittleKnownIsNoError) {
  MetricsFile metrics;
  metrics.starts = {{.facts = {}}};
  metrics.steps = {{.step = 1, .loss = 2}};
  expect_whole_and_alone(report_html(metrics));
  EXPECT_THAT(report_html(metrics), HasSubstr("no price was given"));
  EXPECT_THAT(report_html(metrics), Not(HasSubstr("<h3>Cost</h3>")));
}

TEST(Report, ValuesThatAreNotFiniteAreMarked) {
  MetricsFile metrics = run_of(50);
  metrics.steps[20].loss = NAN;
  metrics.steps[20].grad_norm = INFINITY;
  metrics.steps[49].loss = NAN;
  metrics.validations = {{50, NAN, NAN, 10, 4, 51}};
  const std::string page = report_html(metrics);
  expect_whole_and_alone(page);
  EXPECT_THAT(page, HasSubstr("not finite: 2"));
  EXPECT_THAT(page, Not(HasSubstr("nan")));
  for (StepRecord& step : metrics.steps) step.loss = step.grad_norm = step.lr = step.tok_s = NAN;
  expect_whole_and_alone(report_html(metrics));
}

TEST(Report, LongRunsStaySmall) {
  MetricsFile metrics = run_of(100000);
  for (int64_t step = 0; step <= 100000; step += 50) {
    metrics.validations.push_back({step, 3.5, 1.5, 10, 4, static_cast<double>(step)});
    metrics.samples.push_back({step, std::string(100000, 'x'), "prompt"});
  }
  const std::string page = report_html(metrics);
  EXPECT_LT(page.size(), size_t{1} << 20);
  EXPECT_EQ(count(page, "<blockquote"), 10u);
  EXPECT_THAT(page, HasSubstr("<b>step 0</b>"));
  EXPECT_THAT(page, HasSubstr("<b>step 100,000</b>"));
}

TEST(Report, SamplesAreCutBetweenCharacters) {
  MetricsFile metrics = run_of(1);
  std::string text = "x";
  for (int i = 0; i < 2000; ++i) text += "\xe2\x82\xac";
  metrics.samples = {{1, text, ""}};
  const std::string page = report_html(metrics);
  EXPECT_EQ(page.find("\xef\xbf\xbd"), page.npos);
  EXPECT_THAT(page, HasSubstr("\xe2\x82\xac …</blockquote>"));
}

TEST(Report, ConfigurationBecomesRows) {
  MetricsFile metrics = run_of(1);
  metrics.starts[0].facts.config = "# note\nseed = 1\n\n[model]\nname = \"a=b\"";
  const std::string page = report_html(metrics);
  EXPECT_THAT(page, HasSubstr("<th class=\"key-name\"><code>seed</code></th><td><code>1</code></td>"));
  EXPECT_THAT(page, HasSubstr("<code>[model]</code>"));
  EXPECT_THAT(page, HasSubstr("<th class=\"key-name\"><code>name</code></th><td><code>&quot;a=b&quot;</code></td>"));
}

TEST(Report, ResumesAreShown) {
  MetricsFile metrics = run_of(10);
  metrics.starts.push_back({.step = 5, .unix_seconds = 1769870000, .seconds_before = 7, .facts = facts("run")});
  const std::string page = report_html(metrics);
  EXPECT_THAT(page, HasSubstr("resumed once"));
  EXPECT_THAT(page, HasSubstr("class=\"resume\" d=\"M500.00 0V1000\""));
  EXPECT_THAT(page, HasSubstr("after step 5"));
}

TEST(Report, IsWrittenFromTheLog) {
  const std::string dir = ::testing::TempDir() + fmt::format("report_test.{}", ::getpid());
  fs::create_directories(dir);
  EXPECT_THROW(write_report(dir), UserError);
  MetricsLog log(dir, facts("run"), std::nullopt);
  log.step(step_record(1));
  log.sample({1, "text", "prompt"});
  EXPECT_EQ(write_report(dir), dir + "/report.html");
  EXPECT_EQ(read_file(dir + "/report.html"), report_html(read_metrics(metrics_path(dir))));
  fs::remove_all(dir);
}

}  // namespace
}  // namespace centavo
