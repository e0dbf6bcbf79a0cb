// Counter-based random numbers: a pure function of a key and a counter, so any element of any tensor
// can be drawn anywhere, in any order, by any number of ranks, with the same result.
//
// What one element draws is constexpr, so that device code may call it too: the same bits everywhere.
//
// Philox4x32-10. Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace centavo {

struct PhiloxConstants {
  static constexpr uint32_t kMultiplier0 = 0xD2511F53u;
  static constexpr uint32_t kMultiplier1 = 0xCD9E8D57u;
  static constexpr uint32_t kWeyl0 = 0x9E3779B9u;
  static constexpr uint32_t kWeyl1 = 0xBB67AE85u;
  static constexpr int kRounds = 10;
};

// nvcc loses sight of the operands' 32 bits and multiplies 64, hence the instruction by name.
constexpr uint64_t wide_product(uint32_t a, uint32_t b) {
#ifdef __CUDA_ARCH__
  if (!std::is_constant_evaluated()) {
    uint64_t product;
    asm("mul.wide.u32 %0, %1, %2;" : "=l"(product) : "r"(a), "r"(b));
    return product;
  }
#endif
  return uint64_t{a} * b;
}

// 128 random bits for (key, counter).
constexpr std::array<uint32_t, 4> philox(uint64_t key, uint64_t counter_low, uint64_t counter_high) {
  using P = PhiloxConstants;
  std::array<uint32_t, 4> c = {static_cast<uint32_t>(counter_low), static_cast<uint32_t>(counter_low >> 32),
                               static_cast<uint32_t>(counter_high), static_cast<uint32_t>(counter_high >> 32)};
  uint32_t k0 = static_cast<uint32_t>(key);
  uint32_t k1 = static_cast<uint32_t>(key >> 32);
  for (int round = 0; round < P::kRounds; ++round) {
    const uint64_t p0 = wide_product(P::kMultiplier0, c[0]);
    const uint64_t p1 = wide_product(P::kMultiplier1, c[2]);
    c = {static_cast<uint32_t>(p1 >> 32) ^ c[1] ^ k0, static_cast<uint32_t>(p1),
         static_cast<uint32_t>(p0 >> 32) ^ c[3] ^ k1, static_cast<uint32_t>(p0)};
    k0 += P::kWeyl0;
    k1 += P::kWeyl1;
  }
  return c;
}

// What a random op is keyed by: the run's seed, the step, the logical micro-batch and the op's logical id.
// Drawing element i of such a stream never depends on how the tensor is cut over ranks or threads.
struct RandomStream {
  uint64_t key = 0;     // seed
  uint64_t stream = 0;  // which use of the seed

  constexpr uint32_t bits(uint64_t element) const { return philox(key, element, stream)[0]; }

  // What stochastic rounding draws: 16 bits for each element of up to eight operands. Elements stand in groups of
  // kGroup by their index in the uncut tensor, and one call of Philox serves a group of one operand:
  // element kGroup g + j takes half j % 2 (0: the low one) of word j / 2 of group g.
  static constexpr int kGroup = 8;
  constexpr std::array<uint32_t, 4> group(uint64_t operand, uint64_t g) const {
    return philox(key, (operand << 61) | g, stream);
  }
  constexpr uint16_t draw16(uint64_t operand, uint64_t element) const {
    const auto j = static_cast<uint32_t>(element % kGroup);
    return static_cast<uint16_t>(group(operand, element / kGroup)[j / 2] >> (16 * (j % 2)));
  }

  // Uniform in [0, 1).
  double uniform(uint64_t element) const;
  // Standard normal, Box-Muller.
  double normal(uint64_t element) const;
};

// stream.draw16(operand, i) of the elements [first, first + count).
void draw16(const RandomStream& stream, uint64_t operand, uint64_t first, int64_t count, uint16_t* draws);

constexpr RandomStream random_stream(uint64_t seed, uint64_t step, uint32_t micro_batch, uint32_t logical_id) {
  const auto mixed = philox(seed, step, (static_cast<uint64_t>(micro_batch) << 32) | logical_id);
  return {seed, (static_cast<uint64_t>(mixed[1]) << 32) | mixed[0]};
}

// 64-bit mix of a text, for streams that are named rather than numbered (parameter initialisation).
uint64_t stream_of(const char* text, size_t length);

}  // namespace centavo
