// A warp makes a piece of one row: 32 lanes times four units of 16 bytes, all on their way at once (one element where
// rows are no multiple of 16 bytes). Reads the named rows and writes x once. Without positions the bytes are copied,
// with them two rows are added; the rows of positions come from the L2 cache.

#include "ops/cuda/floats.cuh"
#include "ops/cuda/pack.cuh"
#include "ops/cuda/vectors.cuh"
#include "ops/embedding/embedding.h"

namespace centavo {
namespace {

constexpr int kWarps = 8;
constexpr int kThreads = 32 * kWarps;
constexpr int kUnits = 4;  // of a lane
constexpr int64_t kPiece = 32 * kUnits;

// Rows of `units` units, cut into pieces.
struct Rows {
  int64_t count, vocab, units, pieces;
};

template <class Unit>
__global__ void __launch_bounds__(kThreads) copy_rows(const int32_t* tokens, const Unit* weight, Rows rows, Unit* x) {
  const int64_t item = int64_t{blockIdx.x} * kWarps + threadIdx.x / 32;
  const int64_t n = item / rows.pieces;
  if (n >= rows.count) return;
  const int32_t token = tokens[n];
  const bool named = token >= 0 && token < rows.vocab;
  const int64_t first = item % rows.pieces * kPiece + threadIdx.x % 32;
  Unit units[kUnits] = {};
#pragma unroll
  for (int j = 0; j < kUnits; ++j) {
    if (named && first + 32 * j < rows.units) units[j] = weight[token * rows.units + first + 32 * j];
  }
#pragma unroll
  for (int j = 0; j < kUnits; ++j) {
    if (first + 32 * j < rows.units) x[n * rows.units + first + 32 * j] = units[j];
  }
}

struct Copy {
  int64_t count, vocab, row_bytes;
};

template <class Unit>
void launch(const Copy& copy, const CudaCall& call) {
  const int64_t units = copy.row_bytes / static_cast<int64_t>(sizeof(Unit));
  const Rows rows{copy.count, copy.vocab, units, ceil_div(units, kPiece)};
  copy_rows<<<blocks_for(rows.count * rows.pieces, kWarps), kThreads, 0, call.stream>>>(
      call.in<int32_t>(0), call.in<Unit>(1), rows, call.out<Unit>(0));
  check_launch("embedding");
}

// --- with learned positions

struct Ids {
  const int32_t* tokens;
  const int32_t* positions;
};

template <class T>
struct Tables {
  const T* weight;
  const T* position_weight;
  int64_t vocab, most_positions;
};

// `rows` counts in packs of N elements.
template <int N, class T>
__global__ void __launch_bounds__(kThreads) add_rows(Ids ids, Tables<T> tables, Rows rows, T* x) {
  const int64_t item = int64_t{blockIdx.x} * kWarps + threadIdx.x / 32;
  const int64_t n = item / rows.pieces;
  if (n >= rows.count) return;
  const int32_t token = ids.tokens[n];
  const int32_t position = ids.positions[n];
  const bool named = token >= 0 && token < tables.vocab;
  const bool placed = position >= 0 && position < tables.most_positions;
  const int64_t first = item % rows.pieces * kPiece + threadIdx.x % 32;
  Pack<T, N> words[kUnits] = {}, places[kUnits] = {};
#pragma unroll
  for (int j = 0; j < kUnits; ++j) {
    const int64_t at = first + 32 * j;
    if (at >= rows.units) continue;
    if (named) words[j] = Pack<T, N>::load(tables.weight + (token * rows.units + at) * N);
    if (placed) places[j] = Pack<T, N>::load(tables.position_weight + (position * rows.units + at) * N);
  }
#pragma unroll
  for (int j = 0; j < kUnits; ++j) {
    const int64_t at = first + 32 * j;
    if (at >= rows.units) continue;
    float sum[N], place[N];
    unpack(words[j].at, sum);
    unpack(places[j].at, place);
#pragma unroll
    for (int e = 0; e < N; ++e) sum[e] += place[e];
    pack(sum, words[j].at);
    words[j].store(x + (n * rows.units + at) * N);
  }
}

struct Sizes {
  int64_t count, vocab, most_positions, columns;
};

template <int N, class T>
void launch_add(const Sizes& s, const CudaCall& call) {
  const int64_t units = s.columns / N;
  const Rows rows{s.count, s.vocab, units, ceil_div(units, kPiece)};
  const Ids ids{call.in<int32_t>(0), call.in<int32_t>(2)};
  const Tables<T> tables{call.in<T>(1), call.in<T>(3), s.vocab, s.most_positions};
  add_rows<N>
      <<<blocks_for(rows.count * rows.pieces, kWarps), kThreads, 0, call.stream>>>(ids, tables, rows, call.out<T>(0));
  check_launch("embedding");
}

CudaKernel adding_kernel(const OpView& v) {
  const Sizes s{v.input(0).elements(), v.in(1)[0], v.in(3)[0], v.in(1)[1]};
  return visit_cuda(v.input(1).dtype, [&](auto tag) -> CudaKernel {
    using T = typename decltype(tag)::type;
    return [=](const CudaCall& call) {
      constexpr int N = Vec<T>::size;
      const bool aligned = aligned_for_vectors({call.in<void>(1), call.in<void>(3), call.out<void>(0)});
      return aligned && s.columns % N == 0 ? launch_add<N, T>(s, call) : launch_add<1, T>(s, call);
    };
  });
}

}  // namespace

CudaKernel embedding_cuda(const OpView& v, const CudaTraits&) {
  if (v.has_input(2)) return adding_kernel(v);
  const DType dtype = v.input(1).dtype;
  CHECK(dtype == DType::f32 || dtype == DType::bf16, "{} has no CUDA kernels", name_of(dtype));
  const Copy copy{v.input(0).elements(), v.in(1)[0], v.in(1)[1] * size_of(dtype)};
  return [=](const CudaCall& call) {
    const bool aligned = aligned_for_vectors({call.in<void>(1), call.out<void>(0)});
    if (aligned && copy.row_bytes % 16 == 0) return launch<int4>(copy, call);
    return dtype == DType::f32 ? launch<uint32_t>(copy, call) : launch<uint16_t>(copy, call);
  };
}

}  // namespace centavo
