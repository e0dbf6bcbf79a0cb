// A warp copies a piece of one row: 32 lanes times four units of 16 bytes, all on their way at once (4 or 2 bytes where
// rows are no multiple of 16). Reads the named rows and writes x once.

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

}  // namespace

CudaKernel embedding_cuda(const OpView& v, const CudaTraits&) {
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
