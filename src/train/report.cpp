#include "train/report.h"

#include <fmt/format.h>

#include <filesystem>

#include "base/errors.h"
#include "base/files.h"
#include "train/html.h"
#include "train/report_charts.h"
#include "train/report_page.h"
#include "train/report_text.h"

namespace centavo {
namespace {

std::string head(const std::string& name) {
  return fmt::format(
      "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
      "<meta name=\"color-scheme\" content=\"light dark\">\n<title>{} · centavo</title>\n<style>{}</style>\n</head>\n",
      html(name), kReportStyle);
}

std::string training_section(const MetricsFile& metrics) {
  const std::string charts = charts_html(metrics);
  const std::string content = charts.empty() ? "<p class=\"note\">No step has finished yet.</p>\n"
                                             : fmt::format("<div class=\"charts\">\n{}</div>\n", charts);
  return fmt::format("<section>\n<h2>Training</h2>\n{}</section>\n", content);
}

}  // namespace

std::string report_html(const MetricsFile& metrics) {
  const RunSummary summary = summarize(metrics);
  std::string page = head(metrics.facts().name);
  page += "<body>\n<main>\n";
  page += header_html(metrics, summary);
  page += training_section(metrics);
  page += samples_html(metrics);
  page += memory_html(metrics.facts(), summary.memory_bytes);
  page += facts_html(metrics);
  page += repeat_html(metrics);
  page += "<footer>Made by centavo from metrics.jsonl alone. This page loads nothing.</footer>\n</main>\n";
  page += fmt::format("<script>{}</script>\n</body>\n</html>\n", kReportScript);
  return page;
}

std::string write_report(const std::string& run_dir) {
  const std::string log = metrics_path(run_dir);
  if (!std::filesystem::exists(log)) {
    user_error("there is no {}; name the directory of a run that has begun", log);
  }
  std::string path = run_dir + "/report.html";
  write_file_atomic(path, report_html(read_metrics(log)));
  return path;
}

}  // namespace centavo
