#include "base/rng.h"

#include <cmath>
#include <numbers>

namespace centavo {
namespace {

constexpr uint64_t kMultiplier0 = 0xD2511F53u;
constexpr uint64_t kMultiplier1 = 0xCD9E8D57u;
constexpr uint32_t kWeyl0 = 0x9E3779B9u;
constexpr uint32_t kWeyl1 = 0xBB67AE85u;
constexpr int kRounds = 10;

}  // namespace

std::array<uint32_t, 4> philox(uint64_t key, uint64_t counter_low, uint64_t counter_high) {
  std::array<uint32_t, 4> c = {static_cast<uint32_t>(counter_low), static_cast<uint32_t>(counter_low >> 32),
                               static_cast<uint32_t>(counter_high), static_cast<uint32_t>(counter_high >> 32)};
  uint32_t k0 = static_cast<uint32_t>(key);
  uint32_t k1 = static_cast<uint32_t>(key >> 32);
  for (int round = 0; round < kRounds; ++round) {
    const uint64_t p0 = kMultiplier0 * c[0];
    const uint64_t p1 = kMultiplier1 * c[2];
    c = {static_cast<uint32_t>(p1 >> 32) ^ c[1] ^ k0, static_cast<uint32_t>(p1),
         static_cast<uint32_t>(p0 >> 32) ^ c[3] ^ k1, static_cast<uint32_t>(p0)};
    k0 += kWeyl0;
    k1 += kWeyl1;
  }
  return c;
}

uint32_t RandomStream::bits(uint64_t element) const { return philox(key, element, stream)[0]; }

double RandomStream::uniform(uint64_t element) const {
  const auto r = philox(key, element, stream);
  const uint64_t mantissa = (static_cast<uint64_t>(r[0]) << 21) ^ (r[1] >> 11);  // 53 bits
  return static_cast<double>(mantissa) * 0x1p-53;
}

double RandomStream::normal(uint64_t element) const {
  const auto r = philox(key, element, stream);
  const double u1 = (static_cast<double>(r[0]) + 1.0) * 0x1p-32;  // (0, 1]
  const double u2 = static_cast<double>(r[1]) * 0x1p-32;
  return std::sqrt(-2.0 * std::log(u1)) * std::cos(2.0 * std::numbers::pi * u2);
}

RandomStream random_stream(uint64_t seed, uint64_t step, uint32_t micro_batch, uint32_t logical_id) {
  const auto mixed = philox(seed, step, (static_cast<uint64_t>(micro_batch) << 32) | logical_id);
  return {seed, (static_cast<uint64_t>(mixed[1]) << 32) | mixed[0]};
}

uint64_t stream_of(const char* text, size_t length) {
  uint64_t hash = 0xcbf29ce484222325u;  // FNV-1a
  for (size_t i = 0; i < length; ++i) hash = (hash ^ static_cast<uint8_t>(text[i])) * 0x100000001b3u;
  return hash;
}

}  // namespace centavo
