#include "machine/cuda/nvtx_range.h"

#include <nvtx3/nvToolsExt.h>

namespace centavo {

NvtxRange::NvtxRange(const char* name) { nvtxRangePushA(name); }

NvtxRange::~NvtxRange() { nvtxRangePop(); }

}  // namespace centavo
