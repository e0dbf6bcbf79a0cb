// The parts of a run's page that are words and tables.
#pragma once

#include <string>

#include "train/metrics_log.h"
#include "train/run_summary.h"

namespace centavo {

// Name, progress and the figures asked for first.
std::string header_html(const MetricsFile& metrics, const RunSummary& summary);

// What the model wrote, earliest first; of many, a few at equal distances. Empty without samples.
std::string samples_html(const MetricsFile& metrics);

// Model, data, machine, versions, starts and the configuration.
std::string facts_html(const MetricsFile& metrics);

// How to do it again.
std::string repeat_html(const MetricsFile& metrics);

}  // namespace centavo
