// What candidates take, measured while kernels are prepared.
#pragma once

#include <algorithm>

#include "ops/cuda/check.cuh"

namespace centavo {

class Event {
 public:
  Event() { cuda_check(cudaEventCreate(&event_), "making an event"); }
  ~Event() { cudaEventDestroy(event_); }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;

  void record(CUstream_st* stream) const { cuda_check(cudaEventRecord(event_, stream), "recording an event"); }
  void wait() const { cuda_check(cudaEventSynchronize(event_), "timing a candidate"); }
  float ms_since(const Event& start) const {
    float ms = 0;
    cuda_check(cudaEventElapsedTime(&ms, start.event_, event_), "timing a candidate");
    return ms;
  }

 private:
  cudaEvent_t event_ = nullptr;
};

// Operands rotate through this much memory, several times an L2 cache, as they come from memory in a step.
constexpr int64_t kRotatedBytes = int64_t{256} << 20;
constexpr int64_t kMostSets = 8;

constexpr double kShortFlops = 1e9;  // about 2 us: what is measured below it is the launch

// Long products run a GPU into its power limit, where the fastest is the one that needs least energy. So they are timed
// each alone for so long that the clock follows it, the second half of it counted.
constexpr double kLongFlops = 2e10;
constexpr float kAloneMs = 16;

constexpr float kLeastMs = 0.001f;  // whatever an event says

// Before the first of them, so that it does not find the GPU cooler than the others do.
constexpr float kHeatMs = 60;

// A candidate replaces one proposed before it when it is faster by this share: noise chooses nothing.
constexpr float kClearlyFaster = 0.995f;

// Keeps the GPU busy for kHeatMs; enqueue(i) enqueues the i-th launch, of about_ms each.
template <class Enqueue>
void heat(float about_ms, Enqueue&& enqueue) {
  const auto launches = static_cast<int64_t>(kHeatMs / std::max(about_ms, kLeastMs));
  for (int64_t i = 0; i < launches; ++i) enqueue(i);
}

// Milliseconds of one launch among many of the same; enqueue(i) enqueues the i-th.
template <class Enqueue>
float time_alone(CUstream_st* stream, float about_ms, Enqueue&& enqueue) {
  const int64_t launches = std::max<int64_t>(1, static_cast<int64_t>(kAloneMs / 2 / std::max(about_ms, kLeastMs)));
  const Event start;
  const Event end;
  for (int64_t i = 0; i < 2 * launches; ++i) {
    if (i == launches) start.record(stream);
    enqueue(i);
  }
  end.record(stream);
  end.wait();
  return end.ms_since(start) / static_cast<float>(launches);
}

}  // namespace centavo
