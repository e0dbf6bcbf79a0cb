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

// Half the lanes: they stay in registers, which an array does not.
constexpr int64_t kHalf = kSumLanes / 2;
typedef double Lanes __attribute__((vector_size(kHalf * sizeof(double))));

typedef float Floats __attribute__((vector_size(kHalf * sizeof(float))));

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
  typedef uint16_t Packed __attribute__((vector_size(kHalf * sizeof(bf16))));
  typedef uint32_t Wide __attribute__((vector_size(kHalf * sizeof(float))));
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
  Lanes low = {};
  Lanes high = {};
  const int64_t even = n - n % kSumLanes;
  for (int64_t i = 0; i < even; i += kSumLanes) {
    const Lanes a = load_lanes(g + i);
    const Lanes b = load_lanes(g + i + kHalf);
    low += a * a;
    high += b * b;
  }
  double lanes[kSumLanes];
  std::memcpy(lanes, &low, sizeof(low));
  std::memcpy(lanes + kHalf, &high, sizeof(high));
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
