// The one matrix product behind every op of the CPU machine that needs one.
//
//   C [m, n] = scale * op(A) op(B)   or   C += scale * op(A) op(B)
//
// op(A) is [m, k]: A is stored [m, k], or [k, m] when transpose_a; op(B) is [k, n]: B is stored [k, n], or [n, k] when
// transpose_b. All row-major and dense. a, b: f64 (both), f32, bf16, f8e4m3, f8e5m2; c: f64, f32, bf16. Sums are
// carried in f32 (f64 for f64) and rounded to c once; `add` reads c, adds in f32 and rounds once.
//
// f32 goes through oneDNN; bf16 too where the CPU multiplies bf16 faster than f32, elsewhere the operands are widened
// to f32 in the workspace, which changes no product (a product of two bf16 is exact in f32) and multiplied there; the
// 8-bit formats are always widened. What is converted goes through the workspace in panels of rows of A and C. f64 is a
// plain loop: it is the tests' oracle.
//
// C shares no memory with A or B; the workspace is aligned to kAlignment. Its size is the one for the number of OpenMP
// threads that `workspace_bytes` saw. Deterministic for a given number of threads. Error:
// |C - exact| <= (k + 4) u (|scale extra| |A||B| + |C before|) + one rounding to c, u the roundoff sums are carried
// with.
#pragma once

#include <memory>

#include "base/dtype.h"
#include "program/program.h"

namespace centavo {

struct ProductSpec {
  int64_t m = 0, n = 0, k = 0;
  bool transpose_a = false;
  bool transpose_b = false;
  DType a = DType::f32, b = DType::f32, c = DType::f32;
  double scale = 1.0;
  Bind bind = Bind::write;
  int64_t a_stride = 0;  // elements between the stored rows of A where these are not dense; A must not be converted
};

// Does this CPU multiply bf16 natively, and faster than f32 (AMX; AVX512-BF16 of AMD)?
bool cpu_multiplies_bf16();

// Prepared once (oneDNN primitives are created here), run many times without allocating.
class Product {
 public:
  explicit Product(const ProductSpec& spec);
  ~Product();
  Product(Product&&) noexcept;
  Product& operator=(Product&&) noexcept;

  static int64_t workspace_bytes(const ProductSpec& spec);
  // `extra` multiplies the product besides spec.scale (the scales of quantised operands, known only now). It is folded
  // into the widening of an 8-bit operand, so without one (or f64) it must be 1. One call at a time.
  void run(const void* a, const void* b, void* c, void* workspace, float extra = 1.0f) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace centavo
