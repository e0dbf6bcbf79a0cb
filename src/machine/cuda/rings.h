// Rings on the GPU: a slot is picked by a counter in device memory, so that one captured graph serves every step.
//
// A kernel is captured with fixed addresses. What it reads of a ring is therefore copied, right before it, from the
// slot that the counter picks to a fixed place (`load_slot`), and what it writes is copied back right behind it
// (`store_slot`). Rings hold tokens, learning rates and metrics: kilobytes.
#pragma once

#include <cstddef>
#include <cstdint>

struct CUstream_st;

namespace centavo {

struct RingSlots {
  std::byte* base = nullptr;         // of slot 0
  const int64_t* counter = nullptr;  // on the device
  int64_t slots = 1;
  int64_t stride = 0;  // bytes from slot to slot, a multiple of 16
  int64_t bytes = 0;   // of a slot
};

// staged = slot (counter % slots); `staged` is 16-byte aligned and holds the slot's bytes.
void load_slot(const RingSlots& ring, std::byte* staged, CUstream_st* stream);
// slot (counter % slots) = staged
void store_slot(const RingSlots& ring, const std::byte* staged, CUstream_st* stream);

// Does this program have code for the current GPU?
bool rings_run_here();

// Fills bytes with a pattern that is NaN in every float type.
void poison_device(std::byte* memory, int64_t bytes, CUstream_st* stream);

}  // namespace centavo
