#include <cstring>

#include "base/parallel.h"
#include "ops/copy/copy.h"

namespace centavo {
namespace {

constexpr int64_t kBytesPerThread = 1 << 16;

}  // namespace

CpuKernel copy_cpu(const OpView& v, const CpuTraits&) {
  return [bytes = v.input(0).slot_bytes()](const CpuCall& call) {
    const char* x = call.in<char>(0);
    char* y = call.out<char>(0);
    parallel_ranges(bytes, kBytesPerThread, [&](int64_t begin, int64_t end) {
      std::memcpy(y + begin, x + begin, static_cast<size_t>(end - begin));
    });
  };
}

}  // namespace centavo
