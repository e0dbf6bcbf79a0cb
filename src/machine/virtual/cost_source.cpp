#include "machine/virtual/cost_source.h"

#include <fmt/ranges.h>

#include <algorithm>

namespace centavo {
namespace {

constexpr double kUnknownClock_hz = 2.5e9;
constexpr double kCopyRateOfThread = 8e9;
constexpr double kMostCopyRate = 40e9;

bool has(const CpuFacts& cpu, const char* feature) { return std::ranges::count(cpu.features, feature) > 0; }

double f32_flops_per_cycle(const CpuFacts& cpu) {
  if (has(cpu, "avx512f")) return 64;
  return has(cpu, "avx2") && has(cpu, "fma") ? 32 : 8;
}

double bf16_flops_per_cycle(const CpuFacts& cpu) {
  if (has(cpu, "amx_bf16")) return 512;
  const bool widens = !has(cpu, "avx512_bf16") || !cpu.model.starts_with("AMD");  // see ops/linear/product.h
  return widens ? f32_flops_per_cycle(cpu) : 128;
}

}  // namespace

CostSource cost_source(const OpTable& ops, OpCosts& costs, CostSource::Kind kind) {
  const Profile& profile = costs.profile();
  CostSource source;
  source.kind = kind;
  source.machine = profile.machine;
  source.threads = profile.threads;
  source.seconds = [&ops, &costs](const OpView& view) {
    return costs.seconds(case_of(ops, view.program(), view.op()));
  };
  source.floor_seconds = [&ops, &costs](const OpView& view) {
    return costs.profile().floor_seconds(case_of(ops, view.program(), view.op()));
  };
  source.disk_write_bytes_per_second = profile.disk_write_bytes_per_second;
  source.unknown = [&costs] { return costs.unknown(); };
  return source;
}

Profile prior_profile(const CpuFacts& cpu, int threads) {
  const double cycles = threads * (cpu.clock_hz > 0 ? cpu.clock_hz : kUnknownClock_hz);
  const double f32 = cycles * f32_flops_per_cycle(cpu);
  Profile profile;
  profile.machine = cpu.model.empty() ? "a processor without a name" : cpu.model;
  profile.features = fmt::format("{}", fmt::join(cpu.features, " "));
  profile.threads = threads;
  profile.copy_bytes_per_second = std::min(threads * kCopyRateOfThread, kMostCopyRate);
  profile.product_flops = {{"f64", f32 / 2}, {"f32", f32}, {"bf16", cycles * bf16_flops_per_cycle(cpu)}};
  return profile;
}

}  // namespace centavo
