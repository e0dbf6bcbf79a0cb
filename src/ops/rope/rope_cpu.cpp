#include <cmath>

#include "base/parallel.h"
#include "ops/rope/rope.h"

namespace centavo {
namespace {

constexpr int64_t kRowsPerThread = 8;

enum class Turn : uint8_t { forward, backward };

std::vector<double> frequencies(int64_t head_dim, double theta) {
  std::vector<double> result;
  for (int64_t i = 0; i < head_dim / 2; ++i) {
    result.push_back(std::pow(theta, -2.0 * static_cast<double>(i) / static_cast<double>(head_dim)));
  }
  return result;
}

template <class A>
void table_row(double position, const std::vector<double>& frequency, A* row) {
  const size_t half = frequency.size();
  for (size_t i = 0; i < half; ++i) {
    row[i] = static_cast<A>(std::cos(position * frequency[i]));
    row[i + half] = static_cast<A>(std::sin(position * frequency[i]));
  }
}

template <class T>
void rotate_head(const T* x, const Accumulator<T>* table, Turn turn, int64_t half, T* y) {
  using A = Accumulator<T>;
  const A direction = turn == Turn::forward ? A(1) : A(-1);
#pragma omp simd
  for (int64_t i = 0; i < half; ++i) {
    const A a = convert<A>(x[i]);
    const A b = convert<A>(x[i + half]);
    const A cosine = table[i];
    const A sine = direction * table[i + half];
    y[i] = convert<T>(a * cosine - b * sine);
    y[i + half] = convert<T>(b * cosine + a * sine);
  }
}

CpuKernel rotate(const OpView& v, Turn turn) {
  const int64_t rows = v.rows(0);
  const int64_t columns = v.columns(0);
  const int64_t head_dim = v.columns(1);
  const int64_t rotated = (v.whole("heads") + v.whole("kv_heads")) * head_dim;
  return visit_compute(v.input(0).dtype, [&](auto tag) -> CpuKernel {
    using T = typename decltype(tag)::type;
    using A = Accumulator<T>;
    return [=](const CpuCall& call) {
      parallel_for(rows, kRowsPerThread, [&](int64_t r) {
        const T* x = call.in<T>(0) + r * columns;
        const A* table = call.in<A>(1) + r * head_dim;
        T* y = call.out<T>(0) + r * columns;
        for (int64_t at = 0; at < rotated; at += head_dim) rotate_head(x + at, table, turn, head_dim / 2, y + at);
        std::copy(x + rotated, x + columns, y + rotated);
      });
    };
  });
}

}  // namespace

CpuKernel rope_table_cpu(const OpView& v, const CpuTraits&) {
  const int64_t rows = v.in(0)[0];
  const int64_t head_dim = v.whole("head_dim");
  const std::vector<double> frequency = frequencies(head_dim, v.real("theta"));
  return visit_compute(v.output(0).dtype, [&](auto tag) -> CpuKernel {
    using A = Accumulator<typename decltype(tag)::type>;
    return [=](const CpuCall& call) {
      const int32_t* positions = call.in<int32_t>(0);
      parallel_for(rows, kRowsPerThread, [&](int64_t r) {
        table_row(static_cast<double>(positions[r]), frequency, call.out<A>(0) + r * head_dim);
      });
    };
  });
}

CpuKernel rope_cpu(const OpView& v, const CpuTraits&) { return rotate(v, Turn::forward); }

CpuKernel rope_grad_cpu(const OpView& v, const CpuTraits&) { return rotate(v, Turn::backward); }

}  // namespace centavo
