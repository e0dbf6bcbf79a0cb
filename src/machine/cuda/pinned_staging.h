// Copies between the GPU and ordinary memory of the host through a pair of pinned buffers: the GPU copies the next
// piece while the processor copies the last one. The driver's own way is pageable copies, several times slower.
#pragma once

#include <array>
#include <cstddef>
#include <mutex>
#include <span>

struct CUevent_st;
struct CUstream_st;

namespace centavo {

class PinnedStaging {
 public:
  PinnedStaging() = default;
  ~PinnedStaging();
  PinnedStaging(const PinnedStaging&) = delete;
  PinnedStaging& operator=(const PinnedStaging&) = delete;

  // Run behind what `stream` holds, return when all is copied. The first large copy allocates. Throw DeviceError.
  void to_host(std::span<std::byte> to, const std::byte* from, CUstream_st* stream);
  void to_device(std::byte* to, std::span<const std::byte> from, CUstream_st* stream);

  static constexpr size_t kBufferBytes = size_t{16} << 20;
  static constexpr size_t kSmallBytes = size_t{1} << 20;  // up to here a copy is handed to the driver as it is

 private:
  struct Buffer {
    std::byte* memory = nullptr;
    CUevent_st* done = nullptr;  // the GPU has read or written it
  };
  void allocate();

  std::mutex mutex_;
  std::array<Buffer, 2> buffers_;
};

}  // namespace centavo
