// Stands for NVML in tests: one GPU at 0000:18:00.0 that draws 500 W, slowed by its power limit in every other reading,
// and two processes on it.

#include <cstring>

namespace {

constexpr int kSuccess = 0;
constexpr int kNotFound = 6;
constexpr int kInsufficientSize = 7;

int device = 0;
unsigned long long readings = 0;

struct ProcessInfo {
  unsigned pid;
  unsigned long long used_bytes;
  unsigned gpu_instance;
  unsigned compute_instance;
};

}  // namespace

#pragma GCC diagnostic ignored "-Wmissing-declarations"

extern "C" {

int nvmlInit_v2() { return kSuccess; }
int nvmlShutdown() { return kSuccess; }
const char* nvmlErrorString(int result) { return result == kNotFound ? "Not Found" : "an error"; }

int nvmlDeviceGetHandleByPciBusId_v2(const char* pci_bus_id, void** handle) {
  if (std::strcmp(pci_bus_id, "0000:18:00.0") != 0) return kNotFound;
  *handle = &device;
  return kSuccess;
}

// 500 J more at each reading.
int nvmlDeviceGetTotalEnergyConsumption(void*, unsigned long long* mj) {
  *mj = 1'000'000 + 500'000 * readings++;
  return kSuccess;
}

int nvmlDeviceGetPowerUsage(void*, unsigned* mw) {
  *mw = 500'000;
  return kSuccess;
}

int nvmlDeviceGetClockInfo(void*, int clock, unsigned* mhz) {
  *mhz = clock == 1 ? 1500 : 3201;
  return kSuccess;
}

int nvmlDeviceGetTemperature(void*, int, unsigned* celsius) {
  *celsius = 61;
  return kSuccess;
}

// Idle (bit 0) is no slowing down.
int nvmlDeviceGetCurrentClocksThrottleReasons(void*, unsigned long long* reasons) {
  *reasons = readings % 2 == 1 ? 0x5 : 0x1;
  return kSuccess;
}

int nvmlDeviceGetComputeRunningProcesses_v3(void*, unsigned* count, ProcessInfo* infos) {
  const bool fits = *count >= 2;
  *count = 2;
  if (!fits) return kInsufficientSize;
  infos[0] = {1, 80ULL << 30, 0, 0};
  infos[1] = {4'000'000, ~0ULL, 0, 0};
  return kSuccess;
}
}
