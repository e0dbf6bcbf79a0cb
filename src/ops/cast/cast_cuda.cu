// Each thread converts kItems quads of four elements, which are 16 bytes of f32 and 8 of bf16, so that the accesses of
// a warp lie side by side on both sides; what no quad covers goes element by element. Moves the bytes of x and y once.
//
// Stochastic rounding draws one Philox a quad, about 15 integer instructions an element.

#include "ops/cast/cast.h"
#include "ops/cuda/draws.cuh"
#include "ops/cuda/vectors.cuh"

namespace centavo {
namespace {

constexpr int kItems = 4;
constexpr int kQuad = 4;
constexpr int kElementsPerBlock = kElementThreads * kItems * kQuad;

template <class T>
struct alignas(kQuad * sizeof(T)) Quad {
  T at[kQuad];
};

// N neighbouring elements, from `at` of the tensor on.
template <class From, class To>
struct Nearest {
  template <int N>
  __device__ void operator()(const From (&x)[N], int64_t, To (&y)[N]) const {
#pragma unroll
    for (int e = 0; e < N; ++e) y[e] = from_float<To>(to_float(x[e]));
  }
};

struct Stochastic {
  RandomStream stream;
  uint64_t first;  // index of element 0 in the whole tensor

  template <int N>
  __device__ void operator()(const float (&x)[N], int64_t at, __nv_bfloat16 (&y)[N]) const {
    Draws<N> draws[1];
    draw(stream, first + static_cast<uint64_t>(at), draws);
#pragma unroll
    for (int e = 0; e < N; ++e) y[e] = __ushort_as_bfloat16(stochastic_round(x[e], draws[0].of(e)).bits);
  }
};

template <class From, class To, class Round>
__device__ void cast_elements(const From* x, int64_t quads, int64_t elements, To* y, const Round& round) {
  const int64_t first = int64_t{blockIdx.x} * kElementThreads * kItems + threadIdx.x;
  Quad<From> from[kItems];
#pragma unroll
  for (int j = 0; j < kItems; ++j) {
    const int64_t at = first + j * kElementThreads;
    if (at < quads) from[j] = *reinterpret_cast<const Quad<From>*>(x + at * kQuad);
  }
#pragma unroll
  for (int j = 0; j < kItems; ++j) {
    const int64_t at = first + j * kElementThreads;
    if (at >= quads) continue;
    Quad<To> to;
    round(from[j].at, at * kQuad, to.at);
    *reinterpret_cast<Quad<To>*>(y + at * kQuad) = to;
  }
  for (int64_t i = quads * kQuad + grid_thread(); i < elements; i += grid_threads()) {
    const From from_one[1] = {x[i]};
    To to_one[1];
    round(from_one, i, to_one);
    y[i] = to_one[0];
  }
}

template <class From, class To>
__global__ void __launch_bounds__(kElementThreads) cast_nearest(const From* x, int64_t quads, int64_t elements, To* y) {
  cast_elements(x, quads, elements, y, Nearest<From, To>{});
}

struct Draw {
  const int64_t* seed;
  const int64_t* step;
  uint32_t logical;
  uint64_t first;
};

__global__ void __launch_bounds__(kElementThreads)
    cast_stochastic(const float* x, Draw draw, int64_t quads, int64_t elements, __nv_bfloat16* y) {
  const RandomStream stream =
      random_stream(static_cast<uint64_t>(*draw.seed), static_cast<uint64_t>(*draw.step), 0, draw.logical);
  cast_elements(x, quads, elements, y, Stochastic{stream, draw.first});
}

int64_t quads_of(const void* x, const void* y, int64_t elements) {
  return aligned_for_vectors({x, y}) ? elements / kQuad : 0;
}

CudaKernel nearest(const OpView& v) {
  const int64_t elements = v.input(0).elements();
  const unsigned blocks = blocks_for(elements, kElementsPerBlock);
  return visit_cuda(v.input(0).dtype, [&](auto from_tag) -> CudaKernel {
    using From = typename decltype(from_tag)::type;
    return visit_cuda(v.output(0).dtype, [&](auto to_tag) -> CudaKernel {
      using To = typename decltype(to_tag)::type;
      return [=](const CudaCall& call) {
        const From* x = call.in<From>(0);
        To* y = call.out<To>(0);
        cast_nearest<<<blocks, kElementThreads, 0, call.stream>>>(x, quads_of(x, y, elements), elements, y);
        check_launch("cast");
      };
    });
  });
}

CudaKernel stochastic(const OpView& v) {
  const int64_t elements = v.input(0).elements();
  const unsigned blocks = blocks_for(elements, kElementsPerBlock);
  const uint32_t logical = static_cast<uint32_t>(v.op().logical);
  const uint64_t first = static_cast<uint64_t>(v.output(0).first_element());
  return [=](const CudaCall& call) {
    const float* x = call.in<float>(0);
    auto* y = call.out<__nv_bfloat16>(0);
    const Draw draw{call.in<int64_t>(1), call.in<int64_t>(2), logical, first};
    cast_stochastic<<<blocks, kElementThreads, 0, call.stream>>>(x, draw, quads_of(x, y, elements), elements, y);
    check_launch("cast");
  };
}

}  // namespace

CudaKernel cast_cuda(const OpView& v, const CudaTraits&) {
  return v.text("rounding") == "stochastic" ? stochastic(v) : nearest(v);
}

}  // namespace centavo
