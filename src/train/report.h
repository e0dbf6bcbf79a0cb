// A run as one page for people: report.html, from metrics.jsonl and nothing else.
//
// The page loads nothing, works without its script, in light and dark, on a phone and in the middle of a run. Whatever
// the run's strings hold, samples above all, is shown as text. Curves keep at most about 1,500 points.
#pragma once

#include <string>

#include "train/metrics_log.h"

namespace centavo {

std::string report_html(const MetricsFile& metrics);

// Rewrites DIR/report.html from DIR/metrics.jsonl and returns its path. UserError when there is no such log or it is
// damaged.
std::string write_report(const std::string& run_dir);

}  // namespace centavo
