#include <cmath>

#include "base/parallel.h"
#include "base/rng.h"
#include "ops/adamw/adamw.h"

// Elements pass through small tiles of the accumulator A: load and convert, update, convert and store. The four
// operands' types then multiply neither code nor kernels, and each stage is one vector loop.
namespace centavo {
namespace {

constexpr int64_t kTile = 512;
constexpr int64_t kTilesPerThread = 16;

enum In : size_t { kW, kG, kM, kV, kMaster, kScale, kFinite, kLr, kStep, kSeed };

template <class A>
using Load = void (*)(const void* from, int64_t first, int64_t n, A* tile);
template <class A>
using Store = void (*)(const A* tile, const uint16_t* random, int64_t first, int64_t n, void* to);

template <class A, class T>
void load(const void* from, int64_t first, int64_t n, A* tile) {
  const T* x = static_cast<const T*>(from) + first;
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) tile[i] = convert<A>(x[i]);
}

template <class A, class T>
void store_nearest(const A* tile, const uint16_t*, int64_t first, int64_t n, void* to) {
  T* x = static_cast<T*>(to) + first;
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) x[i] = convert<T>(tile[i]);
}

template <class A>
void store_stochastic(const A* tile, const uint16_t* random, int64_t first, int64_t n, void* to) {
  bf16* x = static_cast<bf16*>(to) + first;
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) x[i] = stochastic_round(static_cast<float>(tile[i]), random[i]);
}

template <class A>
Load<A> load_of(DType dtype) {
  return visit_compute(dtype, [](auto tag) -> Load<A> { return load<A, typename decltype(tag)::type>; });
}

enum class Rounding : uint8_t { nearest, stochastic };

template <class A>
Store<A> store_of(DType dtype, Rounding rounding) {
  if (dtype == DType::bf16 && rounding == Rounding::stochastic) return store_stochastic<A>;
  return visit_compute(dtype, [](auto tag) -> Store<A> { return store_nearest<A, typename decltype(tag)::type>; });
}

// What is known when the program is.
template <class A>
struct Plan {
  int64_t elements, first_element;
  double beta1, beta2, eps, weight_decay;
  uint32_t logical;
  bool has_master;
  bool draws_w, draws_m, draws_v;
  Load<A> load_w, load_g, load_m, load_v;
  Store<A> store_w, store_m, store_v;
};

template <class A>
Plan<A> plan_of(const OpView& v) {
  const DType w = v.input(kW).dtype, m = v.input(kM).dtype, s = v.input(kV).dtype;
  const bool has_master = v.has_input(kMaster);
  const Rounding rounding = v.text("rounding") == "stochastic" ? Rounding::stochastic : Rounding::nearest;
  const bool draws = rounding == Rounding::stochastic;
  return {.elements = v.input(kW).elements(),
          .first_element = v.input(0).first_element(),
          .beta1 = v.real("beta1"),
          .beta2 = v.real("beta2"),
          .eps = v.real("eps"),
          .weight_decay = v.real("weight_decay"),
          .logical = static_cast<uint32_t>(v.op().logical),
          .has_master = has_master,
          .draws_w = draws && w == DType::bf16 && !has_master,
          .draws_m = draws && m == DType::bf16,
          .draws_v = draws && s == DType::bf16,
          .load_w = load_of<A>(has_master ? DType::f32 : w),
          .load_g = load_of<A>(v.input(kG).dtype),
          .load_m = load_of<A>(m),
          .load_v = load_of<A>(s),
          .store_w = store_of<A>(w, has_master ? Rounding::nearest : rounding),
          .store_m = store_of<A>(m, rounding),
          .store_v = store_of<A>(s, rounding)};
}

// What is known when the step is.
template <class A>
struct Coefficients {
  A scale, decay, beta1, rest1, beta2, rest2, step_size, unbias2, eps;
};

template <class A>
Coefficients<A> coefficients(const Plan<A>& p, const CpuCall& call) {
  const double lr = *call.in<float>(kLr);
  const double t = static_cast<double>(*call.in<int64_t>(kStep)) + 1;
  const auto a = [](double x) { return static_cast<A>(x); };
  return {.scale = a(*call.in<float>(kScale)),
          .decay = a(1 - lr * p.weight_decay),
          .beta1 = a(p.beta1),
          .rest1 = a(1 - p.beta1),
          .beta2 = a(p.beta2),
          .rest2 = a(1 - p.beta2),
          .step_size = a(lr / (1 - std::pow(p.beta1, t))),
          .unbias2 = a(1 / std::sqrt(1 - std::pow(p.beta2, t))),
          .eps = a(p.eps)};
}

template <class A>
struct Tile {
  A w[kTile], g[kTile], m[kTile], v[kTile];
  uint16_t random_w[kTile], random_m[kTile], random_v[kTile];
};

template <class A>
void update(const Coefficients<A>& k, int64_t n, Tile<A>& tile) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) {
    const A gradient = tile.g[i] * k.scale;
    const A m = k.beta1 * tile.m[i] + k.rest1 * gradient;
    const A v = k.beta2 * tile.v[i] + k.rest2 * gradient * gradient;
    const A denominator = std::sqrt(v) * k.unbias2 + k.eps;
    tile.w[i] = tile.w[i] * k.decay - k.step_size * (m / denominator);
    tile.m[i] = m;
    tile.v[i] = v;
  }
}

template <class A>
void update_tile(const Plan<A>& p, const Coefficients<A>& k, const RandomStream& stream, const CpuCall& call,
                 int64_t first) {
  const int64_t n = std::min(kTile, p.elements - first);
  Tile<A> tile;
  p.load_w(call.inputs[p.has_master ? kMaster : kW], first, n, tile.w);
  p.load_g(call.inputs[kG], first, n, tile.g);
  p.load_m(call.inputs[kM], first, n, tile.m);
  p.load_v(call.inputs[kV], first, n, tile.v);
  update(k, n, tile);
  const auto element = static_cast<uint64_t>(p.first_element + first);
  if (p.draws_w) draw16(stream, 0, element, n, tile.random_w);
  if (p.draws_m) draw16(stream, 1, element, n, tile.random_m);
  if (p.draws_v) draw16(stream, 2, element, n, tile.random_v);
  p.store_w(tile.w, tile.random_w, first, n, call.outputs[0]);
  p.store_m(tile.m, tile.random_m, first, n, call.outputs[1]);
  p.store_v(tile.v, tile.random_v, first, n, call.outputs[2]);
  if (p.has_master) store_nearest<A, float>(tile.w, nullptr, first, n, call.outputs[3]);
}

template <class A>
CpuKernel kernel(const OpView& v) {
  return [p = plan_of<A>(v)](const CpuCall& call) {
    if (*call.in<int32_t>(kFinite) == 0) return;
    const Coefficients<A> k = coefficients(p, call);
    RandomStream stream;
    if (p.draws_w || p.draws_m || p.draws_v) {
      stream = random_stream(static_cast<uint64_t>(*call.in<int64_t>(kSeed)),
                             static_cast<uint64_t>(*call.in<int64_t>(kStep)), 0, p.logical);
    }
    parallel_for((p.elements + kTile - 1) / kTile, kTilesPerThread,
                 [&](int64_t t) { update_tile(p, k, stream, call, t * kTile); });
  };
}

}  // namespace

CpuKernel adamw_cpu(const OpView& v, const CpuTraits&) {
  return v.input(kW).dtype == DType::f64 ? kernel<double>(v) : kernel<float>(v);
}

}  // namespace centavo
