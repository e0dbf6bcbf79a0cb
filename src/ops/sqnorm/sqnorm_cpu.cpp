#if defined(__AVX512F__)
#include <immintrin.h>
#endif

#include <bit>
#include <cstring>

#include "base/parallel.h"
#include "ops/sqnorm/sqnorm.h"

namespace centavo {
namespace {

constexpr int64_t kSumLanes = 16;
constexpr int64_t kElementsPerThread = 32768;

// The lanes of one register; an array of single lanes would not stay in registers.
#if defined(__AVX512F__)
constexpr int64_t kWidth = 8;
#else
constexpr int64_t kWidth = 4;
#endif
constexpr int64_t kRegisters = kSumLanes / kWidth;
using Lanes __attribute__((vector_size(kWidth * sizeof(double)))) = double;
using Floats __attribute__((vector_size(kWidth * sizeof(float)))) = float;

template <class Vector>
Vector load(const void* from) {
  Vector vector;
  std::memcpy(&vector, from, sizeof(vector));
  return vector;
}

// gcc 12 converts vectors by halves and puts these together, hence the intrinsics.
Lanes widen(Floats floats) {
#if defined(__AVX512F__)
  return _mm512_maskz_cvtps_pd(0xff, floats);  // the form without a mask warns of its own temporary
#else
  return __builtin_convertvector(floats, Lanes);
#endif
}

Lanes load_lanes(const double* g) { return load<Lanes>(g); }

Lanes load_lanes(const float* g) { return widen(load<Floats>(g)); }

Lanes load_lanes(const bf16* g) {
#if defined(__AVX512F__)
  const __m256i bits = _mm256_cvtepu16_epi32(load<__m128i>(g));
  return widen(std::bit_cast<Floats>(_mm256_slli_epi32(bits, 16)));
#else
  typedef uint16_t Packed __attribute__((vector_size(kWidth * sizeof(bf16))));
  typedef uint32_t Wide __attribute__((vector_size(kWidth * sizeof(float))));
  return widen(std::bit_cast<Floats>(__builtin_convertvector(load<Packed>(g), Wide) << 16));
#endif
}

double lane_tree(double* lanes) {
  for (int64_t half = kSumLanes / 2; half > 0; half /= 2) {
    for (int64_t l = 0; l < half; ++l) lanes[l] += lanes[l + half];
  }
  return lanes[0];
}

template <class T>
float block_squares(const T* g, int64_t n) {
  Lanes sum[kRegisters] = {};
  const int64_t even = n - n % kSumLanes;
  for (int64_t i = 0; i < even; i += kSumLanes) {
#pragma GCC unroll 4
    for (int64_t r = 0; r < kRegisters; ++r) {
      const Lanes x = load_lanes(g + i + r * kWidth);
      sum[r] += x * x;
    }
  }
  double lanes[kSumLanes];
  std::memcpy(lanes, sum, sizeof(lanes));
  for (int64_t i = even; i < n; ++i) lanes[i - even] += convert<double>(g[i]) * convert<double>(g[i]);
  return static_cast<float>(lane_tree(lanes));
}

}  // namespace

CpuKernel sqnorm_cpu(const OpView& v, const CpuTraits&) {
  const int64_t n = v.input(0).elements();
  const int64_t block = v.whole("block");
  return visit_compute(v.input(0).dtype, [&](auto tag) -> CpuKernel {
    using T = typename decltype(tag)::type;
    return [=](const CpuCall& call) {
      parallel_for(norm_blocks(n, block), kElementsPerThread / block, [&](int64_t b) {
        const int64_t begin = b * block;
        call.out<float>(0)[b] = block_squares(call.in<T>(0) + begin, std::min(block, n - begin));
      });
    };
  });
}

}  // namespace centavo
