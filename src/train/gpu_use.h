// What a GPU took over a stretch of time, and what held it back.
#pragma once

#include <map>
#include <optional>
#include <string>

namespace centavo {

struct GpuUse {
  double seconds = 0;
  std::optional<double> joules = {};
  std::optional<double> sm_mhz = {};  // mean over the time, as the next
  std::optional<double> memory_mhz = {};
  std::optional<double> celsius = {};         // the highest
  std::map<std::string, double> slowed = {};  // seconds in which clocks were lowered, by reason (base/nvml.h)
  std::optional<double> slowed_seconds = {};  // by any of them; absent where the GPU does not tell

  // A stretch that follows.
  void add(const GpuUse& next);
  // Mean power; absent where the energy is.
  std::optional<double> watts() const;
  bool operator==(const GpuUse&) const = default;
};

// "0.123 kWh, 640 W on average, slowed down 35 % of the time (power limit 35 %)"; empty where nothing is known.
std::string gpu_use_text(const GpuUse& use);

}  // namespace centavo
