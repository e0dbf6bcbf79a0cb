// NVIDIA's management library (NVML): what a GPU draws, how fast it runs, what slows it down, who uses it.
//
// libnvidia-ml.so.1 comes with the driver and is opened at run time, so nothing needs it to build or to start. Source:
// NVML API reference, "Device Queries" and the bit mask nvmlClocksThrottleReasons.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace centavo {

// What the GPU tells at one moment; absent: it does not know.
struct GpuReading {
  std::optional<double> joules;  // since the driver was loaded
  std::optional<double> watts;
  std::optional<double> sm_mhz;
  std::optional<double> memory_mhz;
  std::optional<double> celsius;
  std::optional<uint64_t> slowed_by;  // bits of slow_down_name
};

// Reasons for which clocks are lower than they could be, by bit; an idle GPU's and those that the user set are none.
// Null for any other bit.
const char* slow_down_name(int bit);
inline constexpr int kSlowDownBits = 64;

struct GpuProcess {
  int64_t pid = 0;
  std::optional<int64_t> bytes;  // of the GPU's memory
};

class Nvml {
 public:
  // For the GPU at this place on the PCI bus, such as "0000:18:00.0". Never throws: `refusal` has the reason.
  explicit Nvml(const std::string& pci_bus_id, const std::string& library = kLibrary);
  ~Nvml();
  Nvml(const Nvml&) = delete;
  Nvml& operator=(const Nvml&) = delete;

  // Why nothing can be asked; empty when it can.
  const std::string& refusal() const { return refusal_; }

  GpuReading read() const;
  // Those that compute. Of a container only its own may be told.
  std::vector<GpuProcess> processes() const;

  static constexpr const char* kLibrary = "libnvidia-ml.so.1";

 private:
  template <class... Args>
  int call(const char* name, Args... args) const;
  // A value that a function of the device gives as an unsigned number.
  template <class... Which>
  std::optional<double> number(const char* name, Which... which) const;
  std::string reason(int result) const;
  void start(const std::string& pci_bus_id);

  void* library_ = nullptr;
  void* device_ = nullptr;  // an nvmlDevice_t
  bool started_ = false;
  std::string refusal_;
};

}  // namespace centavo
