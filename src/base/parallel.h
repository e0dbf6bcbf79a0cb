// The one thread pool: OpenMP's, with a static partition, so the same thread always gets the same part
// and results never depend on timing.
#pragma once

#include <omp.h>

#include <algorithm>
#include <atomic>
#include <cstdint>

namespace centavo {

// f(begin, end) over disjoint parts of [0, n), one part per thread, none smaller than `grain`.
template <class F>
void parallel_ranges(int64_t n, int64_t grain, const F& f) {
  const int64_t wanted = n / std::max<int64_t>(grain, 1);
  const int parts = static_cast<int>(std::clamp<int64_t>(wanted, 1, omp_get_max_threads()));
  if (parts == 1) {
    if (n > 0) f(int64_t{0}, n);
    return;
  }
#pragma omp parallel for schedule(static, 1) num_threads(parts)
  for (int part = 0; part < parts; ++part) f(n * part / parts, n * (part + 1) / parts);
}

// f(i) for every i in [0, n); use for work items of similar cost.
template <class F>
void parallel_for(int64_t n, int64_t grain, const F& f) {
  parallel_ranges(n, grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) f(i);
  });
}

// f(i) for every i in [0, n), handed out one by one, in order; use where costs differ widely (causal attention) and
// each item writes only what it owns. An item may wait for earlier ones: these have been begun.
template <class F>
void parallel_items(int64_t n, const F& f) {
  std::atomic<int64_t> next{0};
#pragma omp parallel if (n > 1)
  for (int64_t i = next.fetch_add(1); i < n; i = next.fetch_add(1)) f(i);
}

}  // namespace centavo
