// Where the virtual machine's costs come from: a profile that was measured, or a prior made from what the processor or
// the GPU is.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/host.h"
#include "machine/virtual/profile.h"
#include "machine/virtual/virtual_machine.h"

namespace centavo {

struct CostSource {
  enum class Kind : uint8_t { measured, prior } kind = Kind::prior;
  DeviceKind device = DeviceKind::cpu;
  std::string machine;          // what the costs are of
  std::string instead_of = {};  // the machine that they stand for, where that is another
  int threads = 1;
  OpSeconds seconds;
  OpSeconds floor_seconds;                            // that no implementation can beat on that machine
  double disk_write_bytes_per_second = 0;             // 0: not known
  std::function<std::vector<std::string>()> unknown;  // signatures that were asked for and had no sample

  // A GPU's lanes run side by side.
  LaneModel lanes() const { return device == DeviceKind::cuda ? LaneModel::parallel : LaneModel::one_lane; }
};

// With a prior the true time lies within this factor to either side of the predicted one, usually.
inline constexpr double kPriorFactor = 3;

// `ops` and `costs` must outlive the source.
CostSource cost_source(const OpTable& ops, OpCosts& costs, CostSource::Kind kind);

// Ceilings from the number of threads, the clock and the widest instructions of the processor; no samples:
//   product rate = threads * clock * FLOP per cycle (64 with AVX-512, 32 with AVX2 and FMA, else 8; f64 half of it;
//                  bf16 512 with AMX, 128 with AMD's AVX512-BF16, else as f32)
//   copy rate    = 8 GB/s a thread, at most 40 GB/s
// A clock that the system does not tell counts as 2.5 GHz.
Profile prior_profile(const CpuFacts& cpu, int threads);

// Ceilings of the GPU `name`, empty where it is not known, and of its link to the host, from a table of what GPUs of
// its name or architecture reach (cost_source.cpp); no samples.
Profile prior_profile(const CudaTraits& gpu, const std::string& name);

}  // namespace centavo
