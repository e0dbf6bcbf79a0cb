#include "ops/advance/advance.h"

namespace centavo {

CpuKernel advance_cpu(const OpView&, const CpuTraits&) {
  return [](const CpuCall& call) {
    const uint64_t count = static_cast<uint64_t>(*call.in<int64_t>(0));
    *call.out<int64_t>(0) = static_cast<int64_t>(count + 1);
  };
}

}  // namespace centavo
