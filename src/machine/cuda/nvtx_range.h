// A named stretch of time for a profiler (Nsight Systems): opened here, closed at the end of the scope. Without a
// profiler it is a look at a pointer.
#pragma once

namespace centavo {

class NvtxRange {
 public:
  explicit NvtxRange(const char* name);
  ~NvtxRange();
  NvtxRange(const NvtxRange&) = delete;
  NvtxRange& operator=(const NvtxRange&) = delete;
};

}  // namespace centavo
