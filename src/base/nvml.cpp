#include "base/nvml.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include <algorithm>

namespace centavo {
namespace {

// From nvml.h: results, clocks and sensors are ints.
constexpr int kSuccess = 0;
constexpr int kInsufficientSize = 7;
constexpr int kFunctionNotFound = 13;
constexpr int kSmClock = 1;
constexpr int kMemoryClock = 2;
constexpr int kGpuSensor = 0;

// nvmlProcessInfo_t
struct ProcessInfo {
  unsigned pid;
  unsigned long long used_bytes;  // all bits set: not told
  unsigned gpu_instance;
  unsigned compute_instance;
};

}  // namespace

const char* slow_down_name(int bit) {
  switch (bit) {
    case 2: return "power limit";
    case 3: return "hardware slowdown";
    case 4: return "sync boost";
    case 5: return "temperature";
    case 6: return "temperature, in hardware";
    case 7: return "power brake";
    default: return nullptr;
  }
}

template <class... Args>
int Nvml::call(const char* name, Args... args) const {
  const auto function = reinterpret_cast<int (*)(Args...)>(::dlsym(library_, name));
  return function == nullptr ? kFunctionNotFound : function(args...);
}

std::string Nvml::reason(int result) const {
  const auto function = reinterpret_cast<const char* (*)(int)>(::dlsym(library_, "nvmlErrorString"));
  return function == nullptr ? fmt::format("error {}", result) : function(result);
}

Nvml::Nvml(const std::string& pci_bus_id, const std::string& library)
    : library_(::dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL)) {
  if (library_ == nullptr) {
    refusal_ = fmt::format("NVML cannot be opened: {}", ::dlerror());
  } else {
    start(pci_bus_id);
  }
}

void Nvml::start(const std::string& pci_bus_id) {
  int result = call("nvmlInit_v2");
  started_ = result == kSuccess;
  if (started_) result = call("nvmlDeviceGetHandleByPciBusId_v2", pci_bus_id.c_str(), &device_);
  if (result != kSuccess) refusal_ = fmt::format("NVML does not know the GPU at {}: {}", pci_bus_id, reason(result));
}

Nvml::~Nvml() {
  if (started_) call("nvmlShutdown");
  if (library_ != nullptr) ::dlclose(library_);
}

template <class... Which>
std::optional<double> Nvml::number(const char* name, Which... which) const {
  unsigned value = 0;
  if (call(name, device_, which..., &value) != kSuccess) return std::nullopt;
  return value;
}

GpuReading Nvml::read() const {
  GpuReading reading;
  if (!refusal_.empty()) return reading;
  unsigned long long mj = 0;
  if (call("nvmlDeviceGetTotalEnergyConsumption", device_, &mj) == kSuccess) {
    reading.joules = static_cast<double>(mj) / 1000;
  }
  reading.watts = number("nvmlDeviceGetPowerUsage");
  if (reading.watts) *reading.watts /= 1000;
  reading.sm_mhz = number("nvmlDeviceGetClockInfo", kSmClock);
  reading.memory_mhz = number("nvmlDeviceGetClockInfo", kMemoryClock);
  reading.celsius = number("nvmlDeviceGetTemperature", kGpuSensor);
  unsigned long long reasons = 0;
  if (call("nvmlDeviceGetCurrentClocksThrottleReasons", device_, &reasons) == kSuccess) reading.slowed_by = reasons;
  return reading;
}

std::vector<GpuProcess> Nvml::processes() const {
  if (!refusal_.empty()) return {};
  std::vector<ProcessInfo> infos(64);
  int result = kInsufficientSize;
  unsigned count = 0;
  while (result == kInsufficientSize) {  // `count` then says how many there are
    infos.resize(std::max<size_t>(infos.size(), count));
    count = static_cast<unsigned>(infos.size());
    result = call("nvmlDeviceGetComputeRunningProcesses_v3", device_, &count, infos.data());
    if (result == kInsufficientSize) count = std::max<unsigned>(count, 2 * static_cast<unsigned>(infos.size()));
  }
  if (result != kSuccess) return {};
  std::vector<GpuProcess> processes;
  for (unsigned i = 0; i < count; ++i) {
    GpuProcess process{static_cast<int64_t>(infos[i].pid), std::nullopt};
    if (infos[i].used_bytes != ~0ULL) process.bytes = static_cast<int64_t>(infos[i].used_bytes);
    processes.push_back(process);
  }
  return processes;
}

}  // namespace centavo
