// What a machine can do at most: rates that nothing in a program is expected to beat.
#pragma once

#include <map>
#include <string>

namespace centavo {

// Bytes a second, read and written, of a copy between two arrays of 256 MiB on `threads` threads; the best of half a
// second.
double measured_copy_rate(int threads);

// FLOP/s of large matrix products, by the dtype of the operands: f32 and bf16 (train/throughput.h).
std::map<std::string, double> measured_product_rates(int threads);

}  // namespace centavo
