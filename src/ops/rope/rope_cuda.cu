// A thread of the rotation owns one vector of 16 bytes in the first half of a head and its partner in the second half,
// for kHeads heads of one row: cosines and sines are loaded once for all of them, and 2 kHeads vectors are on their way
// at once. Moves the bytes of qkv and y once and those of the table once from memory (the caches serve the other
// heads). Heads whose half is no whole number of vectors go pair by pair.

#include "ops/cuda/floats.cuh"
#include "ops/cuda/vectors.cuh"
#include "ops/rope/rope.h"

namespace centavo {
namespace {

// Heads of one thread: as many as let three blocks run at once beside the angles of a vector.
template <class T>
constexpr int kHeads = std::is_same_v<T, float> ? 4 : 2;
constexpr int kTableRows = 8;  // rows that share one computed frequency

template <class T>
struct Rotation {
  const T* x;
  const float* table;  // [N, D]
  T* y;
  float direction;  // 1: forward, -1: backward
  int64_t rows;
  int heads;    // of all kinds
  int rotated;  // queries and keys, which come first
  int head_dim;
};

// (a, b) turned by the angle with this cosine and sine.
__device__ void turn(float cosine, float sine, float& a, float& b) {
  const float first = a;
  a = first * cosine - b * sine;
  b = b * cosine + first * sine;
}

template <int kSize>
struct Angles {
  float cosine[kSize];
  float sine[kSize];
};

template <int kSize>
__device__ Angles<kSize> load_angles(const float* cosines, const float* sines, float direction) {
  Angles<kSize> angles;
#pragma unroll
  for (int e = 0; e < kSize; e += 4) {
    const Vec<float> c = Vec<float>::load(cosines + e);
    const Vec<float> s = Vec<float>::load(sines + e);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      angles.cosine[e + i] = c.at[i];
      angles.sine[e + i] = direction * s.at[i];
    }
  }
  return angles;
}

// A thread of a row: head g of `groups` and vector i of its halves; it takes heads g, g + groups, g + 2 groups, ...
template <class T>
__global__ void __launch_bounds__(kElementThreads, 3) rotate_vectors(const Rotation<T> r, uint32_t groups) {
  constexpr int kSize = Vec<T>::size;
  const uint32_t half = r.head_dim / 2;
  const uint32_t half_vectors = half / kSize;
  const uint32_t unit = blockIdx.x * kElementThreads + threadIdx.x;
  const uint32_t group_unit = unit / half_vectors;
  const uint32_t i = unit % half_vectors;
  const uint32_t row = group_unit / groups;
  const int first_head = static_cast<int>(group_unit % groups);
  if (row >= r.rows) return;

  const int64_t start = int64_t{row} * r.heads * r.head_dim + i * kSize;
  Vec<T> a[kHeads<T>], b[kHeads<T>];
#pragma unroll
  for (int j = 0; j < kHeads<T>; ++j) {
    const int head = first_head + j * static_cast<int>(groups);
    if (head >= r.heads) continue;
    const T* from = r.x + start + head * r.head_dim;
    a[j] = Vec<T>::load_streaming(from);
    b[j] = Vec<T>::load_streaming(from + half);
  }
  const float* cosines = r.table + int64_t{row} * r.head_dim + i * kSize;
  const Angles<kSize> angles = load_angles<kSize>(cosines, cosines + half, r.direction);
#pragma unroll
  for (int j = 0; j < kHeads<T>; ++j) {
    const int head = first_head + j * static_cast<int>(groups);
    if (head >= r.heads) continue;
    if (head < r.rotated) {
      float first[kSize], second[kSize];
      unpack(a[j].at, first);
      unpack(b[j].at, second);
#pragma unroll
      for (int e = 0; e < kSize; ++e) turn(angles.cosine[e], angles.sine[e], first[e], second[e]);
      pack(first, a[j].at);
      pack(second, b[j].at);
    }
    T* to = r.y + start + head * r.head_dim;
    a[j].store_global(to);
    b[j].store_global(to + half);
  }
}

template <class T>
__global__ void __launch_bounds__(kElementThreads) rotate_pairs(const Rotation<T> r) {
  const int64_t half = r.head_dim / 2;
  const int64_t unit = grid_thread();
  const int64_t i = unit % half;
  const int64_t head = unit / half % r.heads;
  const int64_t row = unit / half / r.heads;
  if (row >= r.rows) return;
  const int64_t at = (row * r.heads + head) * r.head_dim + i;
  float a = to_float(r.x[at]), b = to_float(r.x[at + half]);
  const float* cosines = r.table + row * r.head_dim + i;
  if (head < r.rotated) turn(cosines[0], r.direction * cosines[half], a, b);
  r.y[at] = from_float<T>(a);
  r.y[at + half] = from_float<T>(b);
}

template <class T>
void launch(const Rotation<T>& r, cudaStream_t stream) {
  const int64_t half = r.head_dim / 2;
  const int64_t groups = ceil_div(r.heads, kHeads<T>);
  const int64_t units = r.rows * groups * (half / Vec<T>::size);
  if (half % Vec<T>::size == 0 && units < INT32_MAX && aligned_for_vectors({r.x, r.table, r.y})) {
    rotate_vectors<<<blocks_for(units, kElementThreads), kElementThreads, 0, stream>>>(r,
                                                                                       static_cast<uint32_t>(groups));
  } else {
    rotate_pairs<<<blocks_for(r.rows * r.heads * half, kElementThreads), kElementThreads, 0, stream>>>(r);
  }
  check_launch("rope");
}

CudaKernel rotate(const OpView& v, float direction) {
  const int64_t rows = v.rows(0);
  const int64_t head_dim = v.columns(1);
  const int rotated = static_cast<int>(v.whole("heads") + v.whole("kv_heads"));
  const int heads = static_cast<int>(v.columns(0) / head_dim);
  return visit_cuda(v.input(0).dtype, [&](auto tag) -> CudaKernel {
    using T = typename decltype(tag)::type;
    return [=](const CudaCall& call) {
      const Rotation<T> r{call.in<T>(0), call.in<float>(1),         call.out<T>(0), direction, rows, heads,
                          rotated,       static_cast<int>(head_dim)};
      launch(r, call.stream);
    };
  });
}

// A thread makes column i of both halves for kTableRows rows.
__global__ void __launch_bounds__(kElementThreads)
    make_table(const int32_t* positions, int64_t rows, int64_t head_dim, double theta, float* table) {
  const int64_t half = head_dim / 2;
  const int64_t i = grid_thread() % half;
  const int64_t first = grid_thread() / half * kTableRows;
  const double frequency = pow(theta, -2.0 * static_cast<double>(i) / static_cast<double>(head_dim));
  for (int64_t row = first; row < min(first + kTableRows, rows); ++row) {
    double sine, cosine;
    sincos(static_cast<double>(positions[row]) * frequency, &sine, &cosine);
    table[row * head_dim + i] = static_cast<float>(cosine);
    table[row * head_dim + i + half] = static_cast<float>(sine);
  }
}

}  // namespace

CudaKernel rope_table_cuda(const OpView& v, const CudaTraits&) {
  const int64_t rows = v.in(0)[0];
  const int64_t head_dim = v.whole("head_dim");
  const double theta = v.real("theta");
  CHECK(v.output(0).dtype == DType::f32, "a table of {} has no CUDA kernel", name_of(v.output(0).dtype));
  const unsigned blocks = blocks_for(ceil_div(rows, kTableRows) * (head_dim / 2), kElementThreads);
  return [=](const CudaCall& call) {
    make_table<<<blocks, kElementThreads, 0, call.stream>>>(call.in<int32_t>(0), rows, head_dim, theta,
                                                            call.out<float>(0));
    check_launch("rope_table");
  };
}

CudaKernel rope_cuda(const OpView& v, const CudaTraits&) { return rotate(v, 1.0f); }

CudaKernel rope_grad_cuda(const OpView& v, const CudaTraits&) { return rotate(v, -1.0f); }

}  // namespace centavo
