#include "train/throughput.h"

#include <omp.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <vector>

#include "base/rng.h"
#include "ops/linear/product.h"

namespace centavo {
namespace {

constexpr int64_t kSize = 1024;
constexpr double kSeconds = 0.25;

double seconds_of(const Product& product, const void* a, const void* b, void* c, void* workspace) {
  const auto start = std::chrono::steady_clock::now();
  product.run(a, b, c, workspace);
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

template <class T>
std::vector<T> random_matrix(uint64_t key) {
  std::vector<T> values(kSize * kSize);
  const RandomStream random{key, stream_of("peak", 4)};
  for (size_t i = 0; i < values.size(); ++i) values[i] = convert<T>(static_cast<float>(random.uniform(i)) - 0.5F);
  return values;
}

template <class T>
double peak_of(DType dtype) {
  const ProductSpec spec = {.m = kSize, .n = kSize, .k = kSize, .a = dtype, .b = dtype};
  const Product product(spec);
  std::vector<std::byte> workspace(static_cast<size_t>(Product::workspace_bytes(spec) + kAlignment));
  void* start = workspace.data();
  size_t room = workspace.size();
  CHECK(std::align(kAlignment, 1, start, room) != nullptr);
  const std::vector<T> a = random_matrix<T>(1);
  const std::vector<T> b = random_matrix<T>(2);
  std::vector<float> c(kSize * kSize);
  double best = seconds_of(product, a.data(), b.data(), c.data(), start);
  for (double spent = best; spent < kSeconds;) {
    const double seconds = seconds_of(product, a.data(), b.data(), c.data(), start);
    best = std::min(best, seconds);
    spent += seconds;
  }
  return 2.0 * kSize * kSize * kSize / best;
}

}  // namespace

double step_flops(const Program& program, const OpTable& ops) {
  double flops = 0;
  for (const Call& call : program.step) {
    for (const Op& op : program.find_section(call.section)->ops) {
      const OpDef& def = ops.at(op.kind);
      if (def.cost != nullptr) flops += static_cast<double>(call.times) * def.cost(OpView(program, op)).flops;
    }
  }
  return flops;
}

double measured_peak_flops(const std::string& precision, int threads) {
  const int before = omp_get_max_threads();
  omp_set_num_threads(threads);
  const double peak = precision.starts_with("bf16") ? peak_of<bf16>(DType::bf16) : peak_of<float>(DType::f32);
  omp_set_num_threads(before);
  return peak;
}

}  // namespace centavo
