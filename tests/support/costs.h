// Costs that a test knows.
#pragma once

#include "machine/virtual/cost_source.h"

namespace centavo::testing {

// An op takes a microsecond a kilobyte of its operands and reaches half of its floor; the disk takes 1 MB/s.
inline CostSource costs_by_bytes() {
  CostSource costs;
  costs.kind = CostSource::Kind::measured;
  costs.machine = "Test Machine";
  costs.threads = 2;
  costs.seconds = [](const OpView& view) { return operand_bytes(view) * 1e-9; };
  costs.floor_seconds = [](const OpView& view) { return operand_bytes(view) * 0.5e-9; };
  costs.disk_write_bytes_per_second = 1e6;
  costs.unknown = [] { return std::vector<std::string>(); };
  return costs;
}

}  // namespace centavo::testing
