// Counter-based random numbers: a pure function of a key and a counter, so any element of any tensor
// can be drawn anywhere, in any order, by any number of ranks, with the same result.
//
// Philox4x32-10. Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace centavo {

// 128 random bits for (key, counter).
std::array<uint32_t, 4> philox(uint64_t key, uint64_t counter_low, uint64_t counter_high);

// What a random op is keyed by: the run's seed, the step, the logical micro-batch and the op's logical id.
// Drawing element i of such a stream never depends on how the tensor is cut over ranks or threads.
struct RandomStream {
  uint64_t key = 0;     // seed
  uint64_t stream = 0;  // which use of the seed

  uint32_t bits(uint64_t element) const;
  // Uniform in [0, 1).
  double uniform(uint64_t element) const;
  // Standard normal, Box-Muller.
  double normal(uint64_t element) const;
};

// The low 16 bits of words 0, 1 and 2 of the elements [first, first + count): what stochastic rounding draws. A null
// pointer leaves a word out.
struct Draws16 {
  uint16_t* word[3];
};
void draw16(const RandomStream& stream, uint64_t first, int64_t count, const Draws16& draws);

RandomStream random_stream(uint64_t seed, uint64_t step, uint32_t micro_batch, uint32_t logical_id);

// 64-bit mix of a text, for streams that are named rather than numbered (parameter initialisation).
uint64_t stream_of(const char* text, size_t length);

}  // namespace centavo
