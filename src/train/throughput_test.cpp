#include "train/throughput.h"

#include <gtest/gtest.h>
#include <omp.h>
#include <ctime>

namespace centavo {
namespace {

double seconds(clockid_t clock) {
  timespec time{};
  ::clock_gettime(clock, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

// Processor seconds that threads other than this one spend while f runs, for each that this one spends.
template <class F>
double share_of_others(const F& f) {
  const double all = seconds(CLOCK_PROCESS_CPUTIME_ID);
  const double mine = seconds(CLOCK_THREAD_CPUTIME_ID);
  f();
  const double spent = seconds(CLOCK_THREAD_CPUTIME_ID) - mine;
  return (seconds(CLOCK_PROCESS_CPUTIME_ID) - all - spent) / spent;
}

TEST(Throughput, ThePeakIsThatOfTheRunsThreads) {
  const int before = omp_get_max_threads();
  omp_set_num_threads(2);
  EXPECT_LT(share_of_others([] { measured_peak_flops("fp32", 1); }), 0.05);
  EXPECT_EQ(omp_get_max_threads(), 2);
  EXPECT_GT(share_of_others([] { measured_peak_flops("fp32", 2); }), 0.1);  // half where cores are free
  omp_set_num_threads(before);
}

}  // namespace
}  // namespace centavo
