// One attention graph of cuDNN ("scaled dot product attention"), built for one case and run for many.
//
// Heads and tokens may be a part of the operands': strides are those of the whole rows. Causal from the top left.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "ops/attention/cudnn_layout.h"
#include "ops/cuda/libraries.h"

namespace centavo {

struct SdpaCase {
  enum Direction : uint8_t { forward, backward } direction = forward;
  enum Form : uint8_t { uniform, packed } form = uniform;
  enum Order : uint8_t { free, fixed } order = free;  // of the backward's sums
  int64_t batch = 1;                                  // sequences, or documents of a packed batch
  int64_t seq = 1;                                    // tokens of each, at most
  int64_t heads = 1, kv_heads = 1, head_size = 0;
  int64_t window = 0;   // 0: none
  int64_t tokens = 0;   // of the op
  int64_t qkv_row = 0;  // of qkv and dqkv, in elements
  int64_t y_row = 0;    // of y and dy

  // Gradients of keys and values go to buffers [tokens, kv_heads head_size] of their own: cuDNN lays sums over the
  // heads of a group out like them, a packed group of heads in rows of dqkv would take many times its size.
  bool gathers_key_gradients() const { return direction == backward && form == packed && heads != kv_heads; }
};

// Device memory of a run. Stats: uniform forward, as lse [heads, tokens]; uniform backward [batch, heads, seq]; packed
// [tokens, heads].
struct SdpaMemory {
  void* q = nullptr;
  void* k = nullptr;
  void* v = nullptr;
  void* y = nullptr;
  void* stats = nullptr;
  void* dy = nullptr;
  void* dq = nullptr;
  void* dk = nullptr;
  void* dv = nullptr;
  DocumentTable documents;  // packed
  void* workspace = nullptr;
};

class SdpaPlan {
 public:
  virtual ~SdpaPlan() = default;
  // cuDNN's words when it does not do the case; then there is nothing to run.
  virtual const std::string& refusal() const = 0;
  virtual int64_t workspace_bytes() const = 0;
  // Throws DeviceError.
  virtual void run(const SdpaMemory& memory, CUstream_st* stream) const = 0;
};

// Built at the first call for a case and kept in `libraries`, which must have a cuDNN.
std::shared_ptr<const SdpaPlan> sdpa_plan(const SdpaCase& c, CudaLibraries& libraries);

}  // namespace centavo
