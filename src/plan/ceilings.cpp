#include "plan/ceilings.h"

#include <omp.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <vector>

#include "train/throughput.h"

namespace centavo {
namespace {

constexpr int64_t kCopyBytes = int64_t{256} << 20;
constexpr double kCopySeconds = 0.5;

double seconds_of_copy(const std::vector<char>& from, std::vector<char>& to, int threads) {
  const auto start = std::chrono::steady_clock::now();
#pragma omp parallel for num_threads(threads) schedule(static, 1)
  for (int part = 0; part < threads; ++part) {
    const int64_t begin = kCopyBytes * part / threads;
    const int64_t end = kCopyBytes * (part + 1) / threads;
    std::memcpy(to.data() + begin, from.data() + begin, static_cast<size_t>(end - begin));
  }
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

double measured_copy_rate(int threads) {
  const std::vector<char> from(kCopyBytes, 1);
  std::vector<char> to(kCopyBytes, 2);
  double best = seconds_of_copy(from, to, threads);
  for (double spent = best; spent < kCopySeconds;) {
    const double seconds = seconds_of_copy(from, to, threads);
    best = std::min(best, seconds);
    spent += seconds;
  }
  return 2.0 * kCopyBytes / best;
}

std::map<std::string, double> measured_product_rates(int threads) {
  return {{"f32", measured_peak_flops("fp32", threads)}, {"bf16", measured_peak_flops("bf16", threads)}};
}

}  // namespace centavo
