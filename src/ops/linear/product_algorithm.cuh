// How a product is told to cuBLASLt, and which of its algorithms is taken.
#pragma once

#include <cublasLt.h>

#include <optional>

#include "ops/cuda/libraries.h"
#include "ops/linear/product_cuda.h"

namespace centavo {

// cuBLASLt's matrices are column-major, so it computes C^T = op(B)^T op(A)^T: its A is our B and its rows our columns.
struct CublasProduct {
  cublasLtMatmulDescOpaque_t operation;
  cublasLtMatrixLayoutOpaque_t a, b, c;

  // `bias`: its address, or a number with its alignment while algorithms are looked for.
  CublasProduct(const CudaProduct::Case& product, const void* bias);
};

// Enqueues with this algorithm; the status of cublasLtMatmul.
cublasStatus_t enqueue(cublasLtContext* cublas, const CudaProduct::Case& product,
                       const CudaProduct::Algorithm& algorithm, const CudaProductOperands& operands, void* workspace,
                       CUstream_st* stream);

// From the tuning table, or by asking and timing; nothing when cuBLASLt has none. Where memory to time in is not left
// (a program that is made beside a large one, as validation's), cuBLASLt's first proposal, which is not kept.
std::optional<CudaProduct::Algorithm> choose_algorithm(CudaLibraries& libraries, const CudaProduct::Case& product);

}  // namespace centavo
