// The parts of the CUDA machine that stand alone: copies, counts, what NVML tells.

#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <limits>
#include <optional>
#include <set>
#include <vector>

#include "base/nvml.h"
#include "machine/cuda/count_non_finite.h"
#include "machine/cuda/cuda_machine.h"
#include "machine/cuda/gpu.h"
#include "machine/cuda/pinned_staging.h"
#include "machine/cuda/tuning_file.h"
#include "ops/all.h"
#include "ops/cuda/check.cuh"
#include "passes/place.h"
#include "program/text.h"
#include "tests/support/cuda_check.h"

namespace centavo::testing {
namespace {

class DeviceMemory {
 public:
  explicit DeviceMemory(size_t bytes) { cuda_check(cudaMalloc(&memory_, bytes), "allocating"); }
  ~DeviceMemory() { cudaFree(memory_); }
  DeviceMemory(const DeviceMemory&) = delete;
  DeviceMemory& operator=(const DeviceMemory&) = delete;
  std::byte* get() const { return static_cast<std::byte*>(memory_); }

 private:
  void* memory_ = nullptr;
};

class Stream {
 public:
  Stream() { cuda_check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "making a stream"); }
  ~Stream() { cudaStreamDestroy(stream_); }
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;
  CUstream_st* get() const { return stream_; }

 private:
  cudaStream_t stream_ = nullptr;
};

std::vector<std::byte> pattern(size_t bytes) {
  std::vector<std::byte> values(bytes);
  for (size_t i = 0; i < bytes; ++i) values[i] = static_cast<std::byte>(i * 2654435761U >> 13);
  return values;
}

// Sizes around a small copy, a piece, both buffers and more.
TEST(PinnedStagingCuda, CopiesEveryByte) {
  NEEDS_GPU();
  open_gpu(0);
  constexpr size_t kMiB = size_t{1} << 20;
  const Stream stream;
  PinnedStaging staging;
  for (const size_t bytes : {size_t{1}, kMiB, kMiB + 1, 4 * kMiB, 5 * kMiB + 3, 64 * kMiB, 100 * kMiB + 7}) {
    const DeviceMemory device(bytes);
    const std::vector<std::byte> written = pattern(bytes);
    staging.to_device(device.get(), written, stream.get());
    std::vector<std::byte> read(bytes);
    staging.to_host(read, device.get(), stream.get());
    EXPECT_TRUE(read == written) << bytes;
  }
}

template <class T>
NonFiniteElements counted(const std::vector<T>& values, DType dtype) {
  const DeviceMemory device(values.size() * sizeof(T));
  const Stream stream;
  PinnedStaging staging;
  staging.to_device(device.get(), std::as_bytes(std::span<const T>(values)), stream.get());
  return count_non_finite(device.get(), dtype, static_cast<int64_t>(values.size()), stream.get());
}

TEST(NonFiniteCuda, AreCountedAndTheFirstIsNamed) {
  NEEDS_GPU();
  open_gpu(0);
  std::vector<float> values(1'000'003, std::numeric_limits<float>::max());
  EXPECT_EQ(counted(values, DType::f32).count, 0);
  EXPECT_EQ(counted(values, DType::f32).first, -1);
  values.back() = std::numeric_limits<float>::quiet_NaN();
  EXPECT_EQ(counted(values, DType::f32).first, 1'000'002);
  values[700'001] = -std::numeric_limits<float>::infinity();
  values[700'002] = std::numeric_limits<float>::infinity();
  EXPECT_EQ(counted(values, DType::f32).count, 3);
  EXPECT_EQ(counted(values, DType::f32).first, 700'001);

  std::vector<uint16_t> bf16(33, 0x7f7f);  // the largest number
  EXPECT_EQ(counted(bf16, DType::bf16).count, 0);
  bf16[31] = 0x7f80;  // infinity
  bf16[32] = 0xffc0;  // NaN
  EXPECT_EQ(counted(bf16, DType::bf16).count, 2);
  EXPECT_EQ(counted(bf16, DType::bf16).first, 31);
}

// Candidates are timed on it, whatever they take it for.
TEST(ScratchCuda, IsFiniteAndVaries) {
  NEEDS_GPU();
  open_gpu(0);
  CudaLibraries libraries;
  std::vector<uint16_t> numbers(1 << 20);
  const auto bytes = static_cast<int64_t>(numbers.size() * sizeof(uint16_t));
  auto* const scratch = static_cast<std::byte*>(libraries.scratch(bytes));
  for (const DType dtype : {DType::bf16, DType::f32}) {
    EXPECT_EQ(count_non_finite(scratch, dtype, bytes / size_of(dtype), libraries.stream()).count, 0);
  }
  PinnedStaging().to_host(std::as_writable_bytes(std::span(numbers)), scratch, libraries.stream());
  EXPECT_GT(std::set<uint16_t>(numbers.begin(), numbers.end()).size(), 1000U);
}

TEST(TuningFile, ChoicesMadeAnotherWayAreNotTaken) {
  const Gpu gpu{.name = "GPU X", .pci_bus_id = {}, .traits = {}, .total_bytes = 0, .free_bytes = 0};
  const TuningFile file(::testing::TempDir() + "tuning_file_test", gpu);
  TuningTable saved;
  saved.set("case", "choice");
  file.save(saved);
  TuningTable loaded;
  file.load(loaded);
  EXPECT_EQ(loaded.find("case"), "choice");

  std::string before_ways = file.path();
  before_ways.erase(before_ways.rfind("-way"), before_ways.rfind('.') - before_ways.rfind("-way"));
  std::filesystem::rename(file.path(), before_ways);
  TuningTable other;
  file.load(other);
  EXPECT_EQ(other.find("case"), "");
}

// A device arena that is had, a host arena that is not.
Program too_large_for_the_host() {
  return place(
      parse("centavo 1\nranks 1\nbuffer step i64[1] control persistent\nbuffer x f32[67108864] parameter persistent\n"
            "buffer h f32[4398046511104] parameter persistent host\nsection only\n  %1 step = advance(step)\nstep "
            "only\n"));
}

TEST(CudaMachineCuda, OneThatCannotBeMadeGivesItsMemoryBack) {
  NEEDS_GPU();
  const OpTable ops = all_ops();
  std::vector<int64_t> free_bytes;
  for (int i = 0; i < 2; ++i) {
    EXPECT_THROW(CudaMachine(too_large_for_the_host(), ops, {}), OutOfMemory);
    free_bytes.push_back(open_gpu(0).free_bytes);
  }
  EXPECT_GT(free_bytes[1], free_bytes[0] - (int64_t{128} << 20)) << "an arena of 256 MiB";
}

// Where the driver's NVML is there it knows the GPU under CUDA's name for it.
TEST(NvmlCuda, KnowsTheGpu) {
  NEEDS_GPU();
  const Nvml nvml(open_gpu(0).pci_bus_id);
  if (!nvml.refusal().empty()) GTEST_SKIP() << nvml.refusal();
  const GpuReading reading = nvml.read();
  ASSERT_TRUE(reading.watts || reading.sm_mhz) << "nothing is known";
  for (const std::optional<double>& value : {reading.watts, reading.sm_mhz}) {
    if (value) {
      EXPECT_GT(*value, 0);
    }
  }
}

}  // namespace
}  // namespace centavo::testing
