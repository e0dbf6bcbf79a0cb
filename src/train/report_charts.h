// The charts of a run's page.
#pragma once

#include <string>

#include "train/metrics_log.h"

namespace centavo {

// Loss, bits per byte, learning rate, gradient norm, throughput, cost; without a step or validation to draw, none.
std::string charts_html(const MetricsFile& metrics);

// The planned memory as one bar of its regions, with a table; empty when nothing is known.
std::string memory_html(const RunFacts& facts, int64_t planned_bytes);

}  // namespace centavo
