#include "plan/ceilings.h"

#include <omp.h>

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <vector>

#include "base/rng.h"
#include "machine/cuda/gpu_rates.h"
#include "machine/virtual/virtual_machine.h"
#include "passes/place.h"
#include "program/text.h"
#include "train/throughput.h"

namespace centavo {
namespace {

constexpr int64_t kCopyBytes = int64_t{256} << 20;
constexpr double kCopySeconds = 0.5;
constexpr double kProductSeconds = 0.5;
constexpr int64_t kGpuProduct = 8192;
constexpr int64_t kGpuProduct_f32 = 4096;

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

Program product_program(const OpTable& ops, const Worker& worker, const std::string& dtype, int64_t n) {
  const std::string type = fmt::format("{}[{}, {}]", dtype, n, n);
  Program program =
      parse(fmt::format("centavo 1\nbuffer x {0} parameter persistent\nbuffer w {0} parameter persistent\n"
                        "buffer y {0} activation\nsection only\n  %1 y = linear(x, w) scale=1.0\nstep only\n",
                        type));
  return place(add_workspaces(std::move(program), ops, worker.traits()));
}

template <class T>
void fill(Machine& machine, const std::string& buffer, uint64_t key) {
  const Buffer& b = machine.program().buffer(machine.program().find(buffer));
  std::vector<T> values(static_cast<size_t>(b.elements()));
  const RandomStream random{key, stream_of("peak", 4)};
  for (size_t i = 0; i < values.size(); ++i) values[i] = convert<T>(static_cast<float>(random.uniform(i)) - 0.5F);
  machine.write(buffer, std::as_bytes(std::span<const T>(values)));
}

void fill(Machine& machine, const std::string& dtype) {
  for (const char* buffer : {"x", "w"}) {
    dtype == "bf16" ? fill<bf16>(machine, buffer, 1) : fill<float>(machine, buffer, 1);
  }
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

double measured_linear_rate(const OpTable& ops, const Worker& worker, const std::string& dtype, int64_t n) {
  const std::unique_ptr<Machine> machine =
      make_machine(product_program(ops, worker, dtype, n), ops, worker.machine_options());
  fill(*machine, dtype);
  machine->step();
  double best = end_of(machine->timed_step());
  for (double spent = best; spent < kProductSeconds;) {
    const double seconds = end_of(machine->timed_step());
    best = std::min(best, seconds);
    spent += seconds;
  }
  return 2.0 * static_cast<double>(n) * static_cast<double>(n) * static_cast<double>(n) / best;
}

void add_ceilings(const OpTable& ops, const Worker& worker, Profile& profile) {
  if (worker.device == DeviceKind::cpu) {
    profile.copy_bytes_per_second = measured_copy_rate(worker.threads);
    profile.product_flops = measured_product_rates(worker.threads);
    return;
  }
  const GpuRates rates = measured_gpu_rates();
  profile.copy_bytes_per_second = rates.copy_bytes_per_second;
  profile.to_device_bytes_per_second = rates.to_device_bytes_per_second;
  profile.to_host_bytes_per_second = rates.to_host_bytes_per_second;
  profile.product_flops = {{"f32", measured_linear_rate(ops, worker, "f32", kGpuProduct_f32)},
                           {"bf16", measured_linear_rate(ops, worker, "bf16", kGpuProduct)}};
}

}  // namespace centavo
