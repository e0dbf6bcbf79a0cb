// Tensor cores, one function an instruction: bf16 products of 16 x 8 x 16 with f32 sums.
//
// Fragments of a lane, g = lane / 4, t = lane % 4, each register two bf16 of neighbouring columns:
//   A [16, 16]   a0 (g, 2t), a1 (g + 8, 2t), a2 (g, 2t + 8), a3 (g + 8, 2t + 8)
//   B [16, 8]    b0 (2t, g), b1 (2t + 8, g)      two neighbouring rows each
//   C [16, 8]    c0 (g, 2t), c1 (g, 2t + 1), c2 (g + 8, 2t), c3 (g + 8, 2t + 1)
// So two C of neighbouring columns, rounded, are an A.
//
// Source: NVIDIA, "PTX ISA", sections on mma.m16n8k16 and ldmatrix.
#pragma once

#include <cuda_bf16.h>

#include <cstdint>

#include "ops/cuda/copies.cuh"

namespace centavo {

struct FragmentA {
  uint32_t at[4];
};

// Two B side by side: at[0], at[1] the first, at[2], at[3] the second.
struct FragmentB2 {
  uint32_t at[4];
};

// Four 8 x 8 matrices of bf16; lane l gives the address of row l % 8 of matrix l / 8.
__device__ inline void load_matrices(const __nv_bfloat16* row, uint32_t (&to)[4]) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(shared_address(row))
               : "memory");
}

__device__ inline void load_matrices_transposed(const __nv_bfloat16* row, uint32_t (&to)[4]) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(to[0]), "=r"(to[1]), "=r"(to[2]), "=r"(to[3])
               : "r"(shared_address(row))
               : "memory");
}

// The other way, without transposing, from a fragment of four C rounded: compute capability 9.0 and above.
struct Matrices {
  uint32_t at[4];
};
__device__ inline void store_matrices(const Matrices& m, __nv_bfloat16* row) {
  asm volatile("stmatrix.sync.aligned.m8n8.x4.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(shared_address(row)),
               "r"(m.at[0]), "r"(m.at[1]), "r"(m.at[2]), "r"(m.at[3])
               : "memory");
}

// c += a b, b the first (0) or second (1) of a pair.
__device__ inline void multiply_add(const FragmentA& a, const FragmentB2& b, int which, float (&c)[4]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, "
      "{%0, %1, %2, %3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a.at[0]), "r"(a.at[1]), "r"(a.at[2]), "r"(a.at[3]), "r"(b.at[2 * which]), "r"(b.at[2 * which + 1]));
}

// Rounded to nearest even, `low` in the lower half.
__device__ inline uint32_t pack_bf16(float low, float high) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  return *reinterpret_cast<const uint32_t*>(&pair);
}

// 2^x to two units in the last place; below 2^-126 it is 0. Keeps NaN.
__device__ inline float exp2_flushed(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

}  // namespace centavo
