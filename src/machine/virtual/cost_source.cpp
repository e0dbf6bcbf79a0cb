#include "machine/virtual/cost_source.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <iterator>

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

struct GpuRow {
  int architecture;
  const char* name;  // part of the card's name; empty: any card of the architecture
  double copy_bytes_per_second;
  double bf16;
  double f32;
  double link_bytes_per_second;
};

// Nine tenths of the memory's rate, four fifths of dense bf16 products with f32 sums and of f32 without tensor cores,
// as the vendor's data sheets give them; of H100 and H200 what was measured. The link to the host: four fifths of what
// 16 lanes of the card's generation of PCIe carry each way. Of an architecture the named cards first.
constexpr double kPcie4 = 25e9;
constexpr double kPcie5 = 50e9;
constexpr GpuRow kGpus[] = {
    {120, "", 1.6e12, 170e12, 84e12, kPcie5},     // RTX 5090
    {100, "", 7.2e12, 1800e12, 64e12, kPcie5},    // B200
    {90, "H200", 4.3e12, 780e12, 50e12, kPcie5},  // H200
    {90, "", 3.0e12, 780e12, 50e12, kPcie5},      // H100
    {89, "L40", 0.78e12, 270e12, 70e12, kPcie4},  // L40
    {89, "", 0.9e12, 132e12, 66e12, kPcie4},      // RTX 4090
    {86, "A10", 0.54e12, 96e12, 25e12, kPcie4},   // A10
    {86, "", 0.84e12, 57e12, 28e12, kPcie4},      // RTX 3090
    {80, "", 1.8e12, 250e12, 15.6e12, kPcie4},    // A100 80 GB
};

// An architecture without a row is taken for the next older one.
const GpuRow& gpu_row(int architecture, const std::string& name) {
  for (const GpuRow& row : kGpus) {
    if (architecture >= row.architecture && name.find(row.name) != std::string::npos) return row;
  }
  return *std::rbegin(kGpus);
}

}  // namespace

CostSource cost_source(const OpTable& ops, OpCosts& costs, CostSource::Kind kind) {
  const Profile& profile = costs.profile();
  CostSource source;
  source.kind = kind;
  source.device = profile.device;
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

Profile prior_profile(const CudaTraits& gpu, const std::string& name) {
  const GpuRow& row = gpu_row(gpu.architecture, name);
  Profile profile;
  profile.device = DeviceKind::cuda;
  profile.machine = name.empty() ? fmt::format("a GPU of architecture {}", gpu.architecture) : name;
  profile.architecture = gpu.architecture;
  profile.multiprocessors = gpu.multiprocessors;
  profile.copy_bytes_per_second = row.copy_bytes_per_second;
  profile.to_device_bytes_per_second = profile.to_host_bytes_per_second = row.link_bytes_per_second;
  profile.product_flops = {{"f32", row.f32}, {"bf16", row.bf16}};
  return profile;
}

}  // namespace centavo
