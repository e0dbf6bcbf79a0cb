// The one matrix product behind every op of the CUDA machine that needs one, through cuBLASLt.
//
//   C [m, n] = scale * op(A) op(B) (+ bias [n])   or   C += scale * op(A) op(B) (+ bias [n])
//
// op(A), op(B) and the layouts as in product.h: row-major, rows of A and C may lie further apart than they are long.
// a = b: f32 or bf16; c: f32 or bf16, whatever the operands are; the bias is of type c. Sums are carried in f32 and
// rounded to c once, what is added included. f32 is multiplied as f32, not as tf32. 8-bit operands: UserError.
//
// The algorithm is fixed when the product is prepared: the tuning table's (ops/cuda/libraries.h), else the fastest of
// up to 16 that cuBLASLt proposes, timed on random numbers and entered there (long ones hot, the longest on a part of
// their rows); a short product takes the first proposal. Split sums are kept in f32 in the workspace and added in a
// fixed order, never with atomics: deterministic for a given algorithm. The order of sums is the algorithm's. Error:
// that of product.h with k + 4 replaced by k + 8 (partial sums are added once more; the tensor cores' sums of a few
// products are not rounded to nearest).
//
// C shares no memory with A, B or bias.
#pragma once

#include <array>
#include <string>

#include "ops/linear/product.h"
#include "program/op_table.h"

struct cublasLtContext;

namespace centavo {

// The largest power of two up to kAlignment that divides the operand's address in any placement.
int64_t alignment_of(const Program& program, BufferId buffer);

// What cuBLASLt is told beside the product itself. Alignments are promises, in bytes, powers of two up to kAlignment.
struct CudaProductLayout {
  int64_t c_stride = 0;  // elements between the rows of C where these are not dense
  int64_t a_alignment = kAlignment;
  int64_t b_alignment = kAlignment;
  int64_t c_alignment = kAlignment;
  int64_t bias_alignment = 0;  // 0: no bias
};

struct CudaProductOperands {
  const void* a = nullptr;
  const void* b = nullptr;
  void* c = nullptr;
  const void* bias = nullptr;
};

// Prepared once, copied at will, run many times; holds nothing but numbers.
class CudaProduct {
 public:
  // Needs traits.libraries. Throws DeviceError.
  CudaProduct(const ProductSpec& spec, const CudaProductLayout& layout, const CudaTraits& traits);

  // Known without a GPU.
  static int64_t workspace_bytes(const ProductSpec& spec, const CudaTraits& traits);

  // Enqueues; may run under capture.
  void run(const CudaProductOperands& operands, void* workspace, CUstream_st* stream) const;

  // One case of one call of cuBLASLt, and an algorithm as the library lets it be kept.
  struct Case {
    ProductSpec spec;
    CudaProductLayout layout;
    int64_t workspace_bytes = 0;  // what the library may use

    bool has_bias() const { return layout.bias_alignment > 0; }
    std::string key() const;  // everything a choice depends on, beside the GPU and the library's version
  };
  using Algorithm = std::array<uint64_t, 8>;

 private:
  Case case_;  // as cuBLASLt runs it
  Algorithm algorithm_ = {};
  cublasLtContext* cublas_ = nullptr;
  bool lays_bias_ = false;  // by a kernel before the product, which then adds
  bool rounds_ = false;     // the product is f32 in the workspace, and a kernel rounds it to C
  Bind bind_ = Bind::write;
};

// to = sums or to += sums, element by element, with one rounding. `to` is f32 or bf16.
void round_sums(const float* sums, int64_t count, DType dtype, Bind bind, void* to, CUstream_st* stream);

}  // namespace centavo
