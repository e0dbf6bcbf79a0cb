// Each thread updates eight elements at a time: one pack of eight where all is bf16, else two of four, so that every
// operand is accessed in 16 bytes (bf16 beside f32 in 8), all loads on their way before the first is used. As many
// blocks as run at once step through the tensor in strides of the grid; what depends on the step is computed once a
// block, in f64. Moves each operand once: with f32 master, m and v, bf16 w and g 28 bytes an element, with everything
// bf16 14. Stochastic rounding of eight elements costs one Philox an operand, made while the loads are on their way:
// with everything bf16 about 45 instructions an element in all, half of what a multiprocessor issues in the time that
// memory needs.

#include "ops/adamw/adamw.h"
#include "ops/cuda/draws.cuh"
#include "ops/cuda/floats.cuh"
#include "ops/cuda/pack.cuh"
#include "ops/cuda/vectors.cuh"

namespace centavo {
namespace {

constexpr int kThreads = 256;
constexpr int kElements = 8;  // of a thread at a time
constexpr int kBlocksPerMultiprocessor = 3;

enum In : size_t { kW, kG, kM, kV, kMaster, kScale, kFinite, kLr, kStep, kSeed };

enum class Rounding : uint8_t { nearest, stochastic };
enum class Weights : uint8_t { alone, with_master };

template <class W, class G, class M, class V>
struct Operands {
  W* w;
  const G* g;
  M* m;
  V* v;
  float* master;
  const float* scale;
  const int32_t* finite;
  const float* lr;
  const int64_t* step;
  const int64_t* seed;
};

// What is known when the program is.
struct Plan {
  int64_t elements;
  uint64_t first_element;
  double beta1, beta2, eps, weight_decay;
  uint32_t logical;
};

// What is known when the step is.
struct Coefficients {
  float scale, decay, beta1, rest1, beta2, rest2, step_size, unbias2, eps;
  RandomStream random;
};

// Three warps, so that the two powers and the stream are computed at the same time. Ends with a barrier.
template <class Call>
__device__ void fill_coefficients(const Plan& p, const Call& call, Coefficients* k) {
  const double t = static_cast<double>(*call.step) + 1;
  const double lr = *call.lr;
  if (threadIdx.x == 0) {
    k->scale = *call.scale;
    k->decay = static_cast<float>(1 - lr * p.weight_decay);
    k->beta1 = static_cast<float>(p.beta1);
    k->rest1 = static_cast<float>(1 - p.beta1);
    k->step_size = static_cast<float>(lr / (1 - pow(p.beta1, t)));
    k->eps = static_cast<float>(p.eps);
  }
  if (threadIdx.x == 32) {
    k->beta2 = static_cast<float>(p.beta2);
    k->rest2 = static_cast<float>(1 - p.beta2);
    k->unbias2 = static_cast<float>(1 / sqrt(1 - pow(p.beta2, t)));
  }
  if (threadIdx.x == 64) {
    const auto seed = static_cast<uint64_t>(call.seed == nullptr ? 0 : *call.seed);
    k->random = random_stream(seed, static_cast<uint64_t>(*call.step), 0, p.logical);
  }
  __syncthreads();
}

__device__ inline void update_element(const Coefficients& k, float g, float& w, float& m, float& v) {
  const float gradient = g * k.scale;
  m = k.beta1 * m + k.rest1 * gradient;
  v = k.beta2 * v + k.rest2 * gradient * gradient;
  const float denominator = sqrt_flushed(v) * k.unbias2 + k.eps;
  w = w * k.decay - k.step_size * (m * reciprocal_flushed(denominator));
}

// The bits of x moved up at random: their upper half is x rounded. Infinity has no lower half that could run over; a
// NaN would become zero.
__device__ inline uint32_t moved_up(float x, uint32_t random) { return __float_as_uint(x) + random; }

template <int N>
__device__ inline void keep_nan(const float (&x)[N], Draws<N>& draws) {
#pragma unroll
  for (int j = 0; j < N; ++j) {
    if (x[j] != x[j]) draws.words[j / 2] &= j % 2 == 0 ? 0xffff0000u : 0xffffu;
  }
}

template <Rounding kRounding, class T, int N>
__device__ inline void round_to(const float (&from)[N], const Draws<N>& draws, T (&to)[N]) {
  if constexpr (kRounding == Rounding::nearest || !std::is_same_v<T, __nv_bfloat16>) {
    pack(from, to);
  } else if constexpr (N == 1) {
    to[0] = __ushort_as_bfloat16(static_cast<uint16_t>(moved_up(from[0], draws.of(0)) >> 16));
  } else {
#pragma unroll
    for (int j = 0; j < N; j += 2) {
      const uint32_t low = moved_up(from[j], draws.of(j)), high = moved_up(from[j + 1], draws.of(j + 1));
      *reinterpret_cast<uint32_t*>(to + j) = __byte_perm(low, high, 0x7632);
    }
  }
}

// N neighbouring elements as they were.
template <Weights kWeights, int N, class W, class G, class M, class V>
struct Old {
  using Weight = std::conditional_t<kWeights == Weights::with_master, float, W>;
  Pack<Weight, N> w;
  Pack<G, N> g;
  Pack<M, N> m;
  Pack<V, N> v;

  __device__ void load(const Operands<W, G, M, V>& call, int64_t first) {
    if constexpr (kWeights == Weights::with_master) {
      w = Pack<Weight, N>::load_streaming(call.master + first);
    } else {
      w = Pack<Weight, N>::load_streaming(call.w + first);
    }
    g = Pack<G, N>::load_streaming(call.g + first);
    m = Pack<M, N>::load_streaming(call.m + first);
    v = Pack<V, N>::load_streaming(call.v + first);
  }
};

template <Rounding kRounding, Weights kWeights, int N, class W, class G, class M, class V>
__device__ inline void update_elements(const Plan& p, const Coefficients& k, const Old<kWeights, N, W, G, M, V>& old,
                                       const Operands<W, G, M, V>& call, int64_t first) {
  constexpr bool kHasMaster = kWeights == Weights::with_master;
  Draws<N> draws[3] = {};
  if constexpr (kRounding == Rounding::stochastic) {
    draw(k.random, p.first_element + static_cast<uint64_t>(first), draws);
  }
  float w[N], g[N], m[N], v[N];
  unpack(old.w.at, w);
  unpack(old.g.at, g);
  unpack(old.m.at, m);
  unpack(old.v.at, v);
#pragma unroll
  for (int j = 0; j < N; ++j) update_element(k, g[j], w[j], m[j], v[j]);
  if constexpr (kRounding == Rounding::stochastic) {
    bool has_nan = false;  // w is one where m or v is
#pragma unroll
    for (int j = 0; j < N; ++j) has_nan = has_nan || w[j] != w[j];
    if (has_nan) {
      keep_nan(w, draws[0]);
      keep_nan(m, draws[1]);
      keep_nan(v, draws[2]);
    }
  }
  Pack<W, N> new_w;
  Pack<M, N> new_m;
  Pack<V, N> new_v;
  round_to<kHasMaster ? Rounding::nearest : kRounding>(w, draws[0], new_w.at);
  round_to<kRounding>(m, draws[1], new_m.at);
  round_to<kRounding>(v, draws[2], new_v.at);
  new_w.store_streaming(call.w + first);
  new_m.store_streaming(call.m + first);
  new_v.store_streaming(call.v + first);
  if constexpr (kHasMaster) {
    Pack<float, N> master;
    pack(w, master.at);
    master.store_streaming(call.master + first);
  }
}

// A pack is 16 bytes of the widest operand, so that the accesses of a warp lie side by side in all of them.
template <Weights kWeights, class W, class G, class M, class V>
constexpr int kPackSize = 16 /
                          static_cast<int>(std::max({sizeof(W), sizeof(G), sizeof(M), sizeof(V),
                                                     kWeights == Weights::with_master ? sizeof(float) : sizeof(W)}));

template <Rounding kRounding, Weights kWeights, class W, class G, class M, class V>
__global__ void __launch_bounds__(kThreads, kBlocksPerMultiprocessor)
    update(Plan p, Operands<W, G, M, V> call, int64_t packs) {
  constexpr int N = kPackSize<kWeights, W, G, M, V>;
  constexpr int kPacks = kElements / N;
  if (*call.finite == 0) return;
  __shared__ Coefficients shared;
  fill_coefficients(p, call, &shared);
  const Coefficients k = shared;
  for (int64_t i = int64_t{blockIdx.x} * kThreads * kPacks + threadIdx.x; i < packs; i += grid_threads() * kPacks) {
    Old<kWeights, N, W, G, M, V> old[kPacks];
#pragma unroll
    for (int j = 0; j < kPacks; ++j) {
      if (i + j * kThreads < packs) old[j].load(call, (i + j * kThreads) * N);
    }
#pragma unroll
    for (int j = 0; j < kPacks; ++j) {
      if (i + j * kThreads < packs) update_elements<kRounding>(p, k, old[j], call, (i + j * kThreads) * N);
    }
  }
  for (int64_t i = packs * N + grid_thread(); i < p.elements; i += grid_threads()) {
    Old<kWeights, 1, W, G, M, V> old;
    old.load(call, i);
    update_elements<kRounding>(p, k, old, call, i);
  }
}

Plan plan_of(const OpView& v) {
  return {.elements = v.input(kW).elements(),
          .first_element = static_cast<uint64_t>(v.input(kW).first_element()),
          .beta1 = v.real("beta1"),
          .beta2 = v.real("beta2"),
          .eps = v.real("eps"),
          .weight_decay = v.real("weight_decay"),
          .logical = static_cast<uint32_t>(v.op().logical)};
}

template <class W, class G, class M, class V>
Operands<W, G, M, V> operands_of(const CudaCall& call) {
  return {.w = call.out<W>(0),
          .g = call.in<G>(kG),
          .m = call.out<M>(1),
          .v = call.out<V>(2),
          .master = call.out<float>(3),
          .scale = call.in<float>(kScale),
          .finite = call.in<int32_t>(kFinite),
          .lr = call.in<float>(kLr),
          .step = call.in<int64_t>(kStep),
          .seed = call.in<int64_t>(kSeed)};
}

template <Rounding kRounding, Weights kWeights, class W, class G, class M, class V>
CudaKernel kernel(const OpView& view, const CudaTraits& traits) {
  const Plan plan = plan_of(view);
  const int64_t most = int64_t{kBlocksPerMultiprocessor} * traits.multiprocessors;
  const auto blocks =
      static_cast<unsigned>(std::clamp<int64_t>(ceil_div(plan.elements, int64_t{kThreads} * kElements), 1, most));
  return [=](const CudaCall& call) {
    const auto operands = operands_of<W, G, M, V>(call);
    const bool aligned = aligned_for_vectors({operands.w, operands.g, operands.m, operands.v, operands.master});
    update<kRounding, kWeights><<<blocks, kThreads, 0, call.stream>>>(
        plan, operands, aligned ? plan.elements / kPackSize<kWeights, W, G, M, V> : 0);
    check_launch("adamw");
  };
}

template <class W, class G, class M, class V>
CudaKernel kernel_of_types(const OpView& v, const CudaTraits& traits) {
  constexpr bool kRoundsStates = std::is_same_v<M, __nv_bfloat16> || std::is_same_v<V, __nv_bfloat16>;
  constexpr bool kRoundsWeights = std::is_same_v<W, __nv_bfloat16>;
  const bool stochastic = v.text("rounding") == "stochastic";
  if constexpr (kRoundsWeights) {
    if (v.has_input(kMaster)) {
      if constexpr (kRoundsStates) {
        if (stochastic) return kernel<Rounding::stochastic, Weights::with_master, W, G, M, V>(v, traits);
      }
      return kernel<Rounding::nearest, Weights::with_master, W, G, M, V>(v, traits);
    }
  }
  if constexpr (kRoundsWeights || kRoundsStates) {
    if (stochastic) return kernel<Rounding::stochastic, Weights::alone, W, G, M, V>(v, traits);
  }
  return kernel<Rounding::nearest, Weights::alone, W, G, M, V>(v, traits);
}

}  // namespace

CudaKernel adamw_cuda(const OpView& view, const CudaTraits& traits) {
  return visit_cuda(view.input(kW).dtype, [&](auto w) {
    return visit_cuda(view.input(kG).dtype, [&](auto g) {
      return visit_cuda(view.input(kM).dtype, [&](auto m) {
        return visit_cuda(view.input(kV).dtype, [&](auto v) {
          return kernel_of_types<typename decltype(w)::type, typename decltype(g)::type, typename decltype(m)::type,
                                 typename decltype(v)::type>(view, traits);
        });
      });
    });
  });
}

}  // namespace centavo
