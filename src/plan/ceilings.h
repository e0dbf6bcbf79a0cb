// What a machine can do at most: rates that nothing in a program is expected to beat.
#pragma once

#include <map>
#include <string>

#include "machine/virtual/profile.h"
#include "program/op_table.h"
#include "train/step_program.h"

namespace centavo {

// Bytes a second, read and written, of a copy between two arrays of 256 MiB on `threads` threads; the best of half a
// second.
double measured_copy_rate(int threads);

// FLOP/s of large matrix products on `threads` threads, by the dtype of the operands: f32 and bf16
// (train/throughput.h).
std::map<std::string, double> measured_product_rates(int threads);

// FLOP/s of one `linear` of n x n x n on the worker's device, operands and result of the dtype ("f32", "bf16"); the
// best of half a second.
double measured_linear_rate(const OpTable& ops, const Worker& worker, const std::string& dtype, int64_t n);

// The rates of the worker's device into its profile. Of a GPU: copies of 1 GiB in its memory and to and from the host,
// products of 8192 (f32: 4096) through `linear`. Errors are those of measured_gpu_rates.
void add_ceilings(const OpTable& ops, const Worker& worker, Profile& profile);

}  // namespace centavo
