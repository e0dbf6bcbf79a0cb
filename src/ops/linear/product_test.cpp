#include "ops/linear/product.h"

#include <gtest/gtest.h>
#include <omp.h>

#include <cmath>
#include <limits>
#include <vector>

#include "tests/support/op_check.h"

namespace centavo::testing {
namespace {

struct Case {
  DType a, b, c;
};

constexpr Case kCases[] = {
    {DType::f64, DType::f64, DType::f64},       {DType::f64, DType::f64, DType::f32},
    {DType::f32, DType::f32, DType::f32},       {DType::f32, DType::f32, DType::bf16},
    {DType::bf16, DType::bf16, DType::f32},     {DType::bf16, DType::bf16, DType::bf16},
    {DType::f32, DType::bf16, DType::f32},      {DType::bf16, DType::f32, DType::bf16},
    {DType::f8e4m3, DType::f8e4m3, DType::f32}, {DType::f8e5m2, DType::f8e4m3, DType::bf16},
    {DType::bf16, DType::f8e4m3, DType::f32},
};

constexpr int64_t kSizes[][3] = {{1, 1, 1},    {1, 33, 31},  {31, 1, 33}, {33, 32, 1},
                                 {1, 127, 32}, {7, 5, 4096}, {33, 65, 32}};

// A tensor of `dtype` in memory aligned as machines align it, and its values.
struct Typed {
  Typed(const std::string& name, DType type, int64_t count) : dtype(type), values(random_values(name, count)) {
    bytes.resize(static_cast<size_t>(count * size_of(dtype) + kAlignment));
    visit_float(dtype, [&](auto tag) {
      using T = typename decltype(tag)::type;
      for (size_t i = 0; i < values.size(); ++i) {
        at<T>()[i] = convert<T>(values[i]);
        values[i] = convert<double>(at<T>()[i]);
      }
    });
  }

  void* data() {
    const auto start = reinterpret_cast<uintptr_t>(bytes.data());
    return bytes.data() + ((start + kAlignment - 1) / kAlignment * kAlignment - start);
  }
  template <class T>
  T* at() {
    return static_cast<T*>(data());
  }
  double read(int64_t i) {
    return visit_float(dtype, [&](auto tag) { return convert<double>(at<typename decltype(tag)::type>()[i]); });
  }

  DType dtype;
  std::vector<double> values;
  std::vector<std::byte> bytes;
};

// Every element of C against a sum in f64, within (k + 4) u (|A||B| + |C before|) + one rounding to c.
void expect_product(const ProductSpec& s, float extra) {
  Typed a("a", s.a, s.m * s.k), b("b", s.b, s.k * s.n), c("c", s.c, s.m * s.n);
  if (s.bind == Bind::write) {  // what was there must not be read
    visit_compute(s.c, [&](auto tag) {
      using C = typename decltype(tag)::type;
      std::fill_n(c.at<C>(), s.m * s.n, convert<C>(std::numeric_limits<float>::quiet_NaN()));
    });
  }
  Typed workspace("workspace", DType::f32, Product::workspace_bytes(s) / 4);
  std::fill_n(workspace.at<float>(), workspace.values.size(), std::numeric_limits<float>::quiet_NaN());
  Product(s).run(a.data(), b.data(), c.data(), workspace.data(), extra);
  const double u = unit_roundoff(accumulator_of(s.a));
  for (int64_t i = 0; i < s.m * s.n; ++i) {
    double sum = 0;
    double magnitude = 0;
    for (int64_t p = 0; p < s.k; ++p) {
      const int64_t row = i / s.n, column = i % s.n;
      const double term = s.scale * extra *
                          a.values[static_cast<size_t>(s.transpose_a ? p * s.m + row : row * s.k + p)] *
                          b.values[static_cast<size_t>(s.transpose_b ? column * s.k + p : p * s.n + column)];
      sum += term;
      magnitude += std::fabs(term);
    }
    const double before = s.bind == Bind::add ? c.values[static_cast<size_t>(i)] : 0.0;
    const double bound = static_cast<double>(s.k + 4) * u * (magnitude + std::fabs(before)) +
                         unit_roundoff(s.c) * std::fabs(before + sum);
    ASSERT_TRUE(std::fabs(c.read(i) - (before + sum)) <= bound)
        << fmt::format("{} x {} -> {}, {}x{}x{}, transposed {} {}, {}, element {}: {} instead of {}, allowed {}",
                       name_of(s.a), name_of(s.b), name_of(s.c), s.m, s.n, s.k, s.transpose_a, s.transpose_b,
                       s.bind == Bind::add ? "add" : "write", i, c.read(i), before + sum, bound);
  }
}

TEST(Product, EveryDtypeLayoutAndAwkwardSize) {
  for (const Case& types : kCases) {
    const bool quantised = size_of(types.a) == 1 || size_of(types.b) == 1;
    for (const auto& [m, n, k] : kSizes) {
      for (const int layout : {0, 1, 2, 3}) {
        for (const Bind bind : {Bind::write, Bind::add}) {
          ProductSpec spec{m, n, k, layout % 2 == 1, layout / 2 == 1, types.a, types.b, types.c, 1.0, bind};
          expect_product(spec, 1.0f);
          spec.scale = -0.37;
          expect_product(spec, quantised ? 0.013f : 1.0f);
        }
      }
    }
  }
}

// More rows than a panel holds, and a rest.
TEST(Product, ConvertsInPanels) {
  const int64_t rows = 1024 * omp_get_max_threads() + 67;
  for (const DType c : {DType::f32, DType::bf16}) {
    for (const Bind bind : {Bind::write, Bind::add}) {
      const ProductSpec spec{rows, 3, 520, false, true, DType::f8e4m3, DType::bf16, c, 1.0, bind};
      expect_product(spec, 0.5f);
    }
  }
}

TEST(Product, ReadsRowsThatAreApart) {
  for (const bool transposed : {false, true}) {
    ProductSpec dense{.m = 5, .n = 7, .k = 3, .transpose_a = transposed};
    ProductSpec apart = dense;
    apart.a_stride = 11;
    const int64_t rows = transposed ? dense.k : dense.m, columns = transposed ? dense.m : dense.k;
    Typed a("a", DType::f32, rows * columns), b("b", DType::f32, dense.k * dense.n);
    Typed spread("spread", DType::f32, rows * apart.a_stride), c("c", DType::f32, 35), d("d", DType::f32, 35);
    for (int64_t i = 0; i < rows * columns; ++i) {
      spread.at<float>()[i / columns * apart.a_stride + i % columns] = a.at<float>()[i];
    }
    Typed scratch("scratch", DType::f32,
                  std::max(Product::workspace_bytes(dense), Product::workspace_bytes(apart)) / 4 + 1);
    Product(dense).run(a.data(), b.data(), c.data(), scratch.data());
    Product(apart).run(spread.data(), b.data(), d.data(), scratch.data());
    for (int64_t i = 0; i < 35; ++i) EXPECT_NEAR(c.read(i), d.read(i), 1e-5);
  }
}

TEST(Product, NeedsNoWorkspaceWhereNothingIsWidened) {
  const ProductSpec spec{.m = 33, .n = 65, .k = 127, .transpose_b = true};
  ProductSpec f64 = spec;
  f64.a = f64.b = f64.c = DType::f64;
  EXPECT_EQ(Product::workspace_bytes(f64), 0);
  ProductSpec rounded = spec;
  rounded.c = DType::bf16;
  EXPECT_EQ(Product::workspace_bytes(rounded) - Product::workspace_bytes(spec), align_up(4 * 33 * 65));
}

TEST(ProductDeathTest, RefusesAnExtraScaleOfUnquantisedOperands) {
  const Product product(ProductSpec{.m = 1, .n = 1, .k = 1});
  const float one = 1;
  float c = 0;
  EXPECT_DEATH(product.run(&one, &one, &c, nullptr, 2.0f), "only quantised operands");
}

}  // namespace
}  // namespace centavo::testing
