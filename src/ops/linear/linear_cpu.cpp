#include "base/parallel.h"
#include "ops/linear/linear.h"
#include "ops/linear/products.h"

namespace centavo {
namespace {

constexpr int64_t kElementsPerThread = 16384;
constexpr int64_t kColumnTile = 64;

// The bias is laid in y first, and the product adds to it.
ProductSpec spec(const OpView& v) {
  ProductSpec s = linear_product(v);
  if (v.has_input(2)) s.bind = Bind::add;
  return s;
}

double largest(DType dtype) {
  if (dtype == DType::f8e4m3) return f8e4m3::kMax;
  return dtype == DType::f8e5m2 ? f8e5m2::kMax : 1.0;
}

// What the stored numbers must be multiplied by: amax / kMax of each 8-bit operand.
struct Unscale {
  size_t a = 0, b = 0;  // inputs
  double divisor = 1;

  Unscale(const OpView& v, size_t a_amax, size_t b_amax)
      : a(a_amax), b(b_amax), divisor(largest(v.input(0).dtype) * largest(v.input(1).dtype)) {}

  float factor(const CpuCall& call) const {
    double product = 1 / divisor;
    for (const size_t i : {a, b}) {
      if (const float* amax = call.in<float>(i)) product *= *amax;
    }
    return static_cast<float>(product);
  }
};

// Shared, because std::function copies what it holds and a prepared product cannot be copied.
CpuKernel product_kernel(const ProductSpec& s, const Unscale& unscale) {
  const auto product = std::make_shared<const Product>(s);
  return [=](const CpuCall& call) {
    product->run(call.inputs[0], call.inputs[1], call.outputs[0], call.workspace, unscale.factor(call));
  };
}

template <class T>
void lay_bias(const T* bias, int64_t rows, int64_t columns, Bind bind, T* y) {
  using A = Accumulator<T>;
  parallel_for(rows, std::max<int64_t>(1, kElementsPerThread / columns), [&](int64_t r) {
    T* row = y + r * columns;
    if (bind == Bind::write) {
      std::copy_n(bias, columns, row);
    } else {
      for (int64_t c = 0; c < columns; ++c) row[c] = convert<T>(convert<A>(row[c]) + convert<A>(bias[c]));
    }
  });
}

// Sums of the columns [begin, end), rows in order.
template <class T, class G>
void column_sums(const T* dy, int64_t rows, int64_t columns, int64_t begin, int64_t end, Bind bind, G* dbias) {
  using A = Accumulator<T>;
  A total[kColumnTile] = {};
  for (int64_t r = 0; r < rows; ++r) {
    const T* row = dy + r * columns + begin;
    for (int64_t c = 0; c < end - begin; ++c) total[c] += convert<A>(row[c]);
  }
  for (int64_t c = 0; c < end - begin; ++c) {
    const A before = bind == Bind::add ? convert<A>(dbias[begin + c]) : A(0);
    dbias[begin + c] = convert<G>(before + total[c]);
  }
}

}  // namespace

int64_t linear_cpu_workspace_bytes(const OpView& v, const CpuTraits&) { return Product::workspace_bytes(spec(v)); }

int64_t linear_dx_cpu_workspace_bytes(const OpView& v, const CpuTraits&) {
  return Product::workspace_bytes(linear_dx_product(v));
}

int64_t linear_dw_cpu_workspace_bytes(const OpView& v, const CpuTraits&) {
  return Product::workspace_bytes(linear_dw_product(v));
}

CpuKernel linear_cpu(const OpView& v, const CpuTraits&) {
  const ProductSpec s = spec(v);
  CpuKernel product = product_kernel(s, Unscale(v, 3, 4));
  if (!v.has_input(2)) return product;
  const Bind bind = v.op().outputs[0].bind;
  return visit_compute(s.c, [&](auto tag) -> CpuKernel {
    using T = typename decltype(tag)::type;
    return [=](const CpuCall& call) {
      lay_bias(call.in<T>(2), s.m, s.n, bind, call.out<T>(0));
      product(call);
    };
  });
}

CpuKernel linear_dx_cpu(const OpView& v, const CpuTraits&) {
  return product_kernel(linear_dx_product(v), Unscale(v, 2, 3));
}

CpuKernel linear_dw_cpu(const OpView& v, const CpuTraits&) {
  return product_kernel(linear_dw_product(v), Unscale(v, 2, 3));
}

CpuKernel linear_db_cpu(const OpView& v, const CpuTraits&) {
  const int64_t rows = v.rows(0);
  const int64_t columns = v.columns(0);
  const Bind bind = v.op().outputs[0].bind;
  return visit_compute(v.input(0).dtype, [&](auto tag) -> CpuKernel {
    using T = typename decltype(tag)::type;
    return visit_compute(v.output(0).dtype, [&](auto gradient_tag) -> CpuKernel {
      using G = typename decltype(gradient_tag)::type;
      return [=](const CpuCall& call) {
        parallel_for((columns + kColumnTile - 1) / kColumnTile, 1, [&](int64_t tile) {
          const int64_t begin = tile * kColumnTile;
          column_sums(call.in<T>(0), rows, columns, begin, std::min(begin + kColumnTile, columns), bind,
                      call.out<G>(0));
        });
      };
    });
  });
}

}  // namespace centavo
