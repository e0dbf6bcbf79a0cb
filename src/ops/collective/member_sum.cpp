#include "ops/collective/member_sum.h"

#include <algorithm>

#include "base/parallel.h"

namespace centavo {
namespace {

constexpr int64_t kBlock = 256;  // elements summed at once: all levels of a block stay in the first cache
constexpr int kLevels = 18;      // 2^16 members and one to load into
constexpr int64_t kElementsPerThread = 1 << 14;

// Integers wrap around instead of overflowing.
template <class T>
struct CarryOf {
  using type = Accumulator<T>;
};
template <>
struct CarryOf<int32_t> {
  using type = uint64_t;
};
template <>
struct CarryOf<int64_t> {
  using type = uint64_t;
};
template <class T>
using Carry = typename CarryOf<T>::type;

template <class T>
void load(const T* x, int64_t n, Carry<T>* level) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) level[i] = convert<Carry<T>>(x[i]);
}

template <class A>
void add(const A* right, int64_t n, A* left) {
#pragma omp simd
  for (int64_t i = 0; i < n; ++i) left[i] = left[i] + right[i];
}

template <class T>
void store(const Carry<T>* sum, int64_t n, T* y, Bind bind) {
  if (bind == Bind::write) {  // NOLINT: the loops differ
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) y[i] = convert<T>(sum[i]);
  } else {
#pragma omp simd
    for (int64_t i = 0; i < n; ++i) y[i] = convert<T>(convert<Carry<T>>(y[i]) + sum[i]);
  }
}

// The tree like a binary counter: member k completes as many subtrees as k has trailing ones.
template <class T>
void sum_block(std::span<const std::byte* const> members, int64_t begin, int64_t n, T* y, Bind bind) {
  Carry<T> levels[kLevels][kBlock];
  int top = 0;
  for (size_t k = 0; k < members.size(); ++k) {
    load(reinterpret_cast<const T*>(members[k]) + begin, n, levels[top++]);
    for (int pairs = std::countr_one(k); pairs > 0; --pairs, --top) add(levels[top - 1], n, levels[top - 2]);
  }
  for (; top > 1; --top) add(levels[top - 1], n, levels[top - 2]);
  store(levels[0], n, y + begin, bind);
}

template <class F>
void visit_summed(DType dtype, F&& f) {
  switch (dtype) {
    case DType::i32: return f(TypeTag<int32_t>{});
    case DType::i64: return f(TypeTag<int64_t>{});
    default: return visit_compute(dtype, f);
  }
}

}  // namespace

bool has_member_sum(DType dtype) {
  return dtype == DType::f64 || dtype == DType::f32 || dtype == DType::bf16 || dtype == DType::i32 ||
         dtype == DType::i64;
}

void member_sum(DType dtype, std::span<const std::byte* const> members, int64_t n, std::byte* y, Bind bind) {
  visit_summed(dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    parallel_ranges(n, kElementsPerThread, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; i += kBlock) {
        sum_block(members, i, std::min(kBlock, end - i), reinterpret_cast<T*>(y), bind);
      }
    });
  });
}

}  // namespace centavo
