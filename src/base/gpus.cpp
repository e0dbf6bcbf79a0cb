#include "base/gpus.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include <array>
#include <filesystem>
#include <fstream>
#include <memory>
#include <sstream>

namespace centavo {
namespace {

namespace fs = std::filesystem;

// From cuda.h: results, devices and attributes are ints.
constexpr int kSuccess = 0;
constexpr int kComputeMajor = 75;  // CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR
constexpr int kComputeMinor = 76;

struct CloseLibrary {
  void operator()(void* library) const { ::dlclose(library); }
};
using Library = std::unique_ptr<void, CloseLibrary>;

class Driver {
 public:
  explicit Driver(void* library) : library_(library) {}

  // The result of a call, or the error "function missing".
  template <class... Args>
  int call(const char* name, Args... args) const {
    constexpr int kNotFound = 500;  // CUDA_ERROR_NOT_FOUND
    const auto function = reinterpret_cast<int (*)(Args...)>(::dlsym(library_, name));
    return function == nullptr ? kNotFound : function(args...);
  }

  std::string reason(int result) const {
    const char* text = nullptr;
    call("cuGetErrorString", result, &text);
    return text != nullptr ? text : fmt::format("error {}", result);
  }

 private:
  void* library_;
};

DriverGpu gpu_of(const Driver& driver, int device) {
  std::array<char, 256> name = {};
  size_t memory = 0;
  DriverGpu gpu;
  driver.call("cuDeviceGetName", name.data(), static_cast<int>(name.size()) - 1, device);
  driver.call("cuDeviceTotalMem_v2", &memory, device);
  driver.call("cuDeviceGetAttribute", &gpu.compute_major, kComputeMajor, device);
  driver.call("cuDeviceGetAttribute", &gpu.compute_minor, kComputeMinor, device);
  gpu.name = name.data();
  gpu.memory_bytes = static_cast<int64_t>(memory);
  return gpu;
}

void ask_library(GpuFacts& facts) {
  const Library library(::dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL));
  if (!library) return;
  facts.has_library = true;
  const Driver driver(library.get());
  int version = 0;
  if (driver.call("cuDriverGetVersion", &version) == kSuccess) {
    facts.cuda_version = fmt::format("{}.{}", version / 1000, version % 1000 / 10);
  }
  const int started = driver.call("cuInit", 0U);
  if (started != kSuccess) {
    facts.failure = driver.reason(started);
    return;
  }
  int count = 0;
  driver.call("cuDeviceGetCount", &count);
  for (int i = 0; i < count; ++i) {
    int device = 0;
    if (driver.call("cuDeviceGet", &device, i) == kSuccess) facts.gpus.push_back(gpu_of(driver, device));
  }
}

// "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar …": the first word with two dots, or one.
std::string version_in(const std::string& text) {
  std::istringstream words(text.substr(0, text.find('\n')));
  for (std::string word; words >> word;) {
    const bool digits = word.find_first_not_of("0123456789.") == std::string::npos;
    if (digits && word.find('.') != std::string::npos) return word;
  }
  return "";
}

int64_t entries_in(const std::string& directory) {
  std::error_code failure;
  const fs::directory_iterator entries(directory, failure);
  return failure ? 0 : std::distance(entries, fs::directory_iterator());
}

}  // namespace

GpuFacts gpu_facts(const std::string& root) {
  GpuFacts facts;
  std::ifstream file(root + "/proc/driver/nvidia/version");
  std::string line;
  if (file && std::getline(file, line)) facts.driver_version = version_in(line);
  facts.kernel_gpus = entries_in(root + "/proc/driver/nvidia/gpus");
  ask_library(facts);
  return facts;
}

}  // namespace centavo
