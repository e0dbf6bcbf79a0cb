// What the machine can do at most and what a step asks of it: their ratio is the share of the peak.
#pragma once

#include "program/op_table.h"
#include "program/program.h"
#include "train/run_config.h"

namespace centavo {

// Floating-point operations of one step: the cost rules over every call of every section.
double step_flops(const Program& program, const OpTable& ops);

// The best rate, in FLOP/s, of a square product of the run's dtype in about a quarter of a second on `threads` threads,
// operands in cache as far as they fit. Measured, so it differs a little from call to call.
double measured_peak_flops(const std::string& precision, int threads);

}  // namespace centavo
