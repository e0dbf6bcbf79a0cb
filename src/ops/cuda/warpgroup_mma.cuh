// The tensor cores of compute capability 9.0 (code for sm_90a): products of 64 x 256 x 16 or 64 x 128 x 16 by a
// warpgroup, four warps, from shared memory. Nothing here may be called on other devices.
//
// A and B are tiles of bf16 as the bulk copies leave them (bulk_copies.cuh), and start at a multiple of 1024 bytes:
// with rows of 64 along the summed dimension, or, B alone, as boxes of 64 columns with the summed dimension down their
// rows. Sums are f32, 128 to a thread: with w the warp, g = lane / 4, t = lane % 4,
//   sums[4 j], [4 j + 1]       row 16 w + g,      columns 8 j + 2 t, 8 j + 2 t + 1
//   sums[4 j + 2], [4 j + 3]   row 16 w + g + 8,  the same
//
// Source: NVIDIA, "PTX ISA", sections on wgmma, its matrix descriptor and setmaxnreg.
#pragma once

#include "ops/cuda/copies.cuh"

namespace centavo {

constexpr int kWarpgroup = 128;    // threads
constexpr int kProductDepth = 16;  // of the summed dimension

// What a descriptor grows by where the next product starts in the tile.
constexpr uint64_t kDescriptorStep = kProductDepth * 2 / 16;

// Where a tile lies: its address, eight rows every 1024 bytes, boxes of 64 columns where it has several, parts swapped
// in 128 bytes; in units of 16 bytes.
template <uint64_t kBoxesApart = 1>
__device__ inline uint64_t tile_descriptor(const void* tile) {
  constexpr uint64_t kRowsApart = uint64_t{1024 / 16} << 32;
  constexpr uint64_t kSwapped128 = uint64_t{1} << 62;
  return ((shared_address(tile) & 0x3ffffu) >> 4) | kBoxesApart << 16 | kRowsApart | kSwapped128;
}

// A warpgroup gives registers back or takes more, so many to a thread.
template <int kRegisters>
__device__ inline void shrink_registers() {
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
}
template <int kRegisters>
__device__ inline void grow_registers() {
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
}

// How B lies.
enum class BOrder { along_rows, down_rows };

// Where 16 along the summed dimension begin in B's tile, `kDepth` long.
template <BOrder kOrder, int kDepth>
__device__ inline uint64_t b_descriptor(const void* tile, int first) {
  if constexpr (kOrder == BOrder::along_rows) {
    return tile_descriptor(tile) + first / kProductDepth * kDescriptorStep;
  } else {
    constexpr uint64_t kRowBytes = 128;
    return tile_descriptor<kDepth * kRowBytes / 16>(tile) + first * kRowBytes / 16;
  }
}

// Before the first product that uses registers which the threads wrote.
__device__ inline void begin_products() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }

// Closes a group of products.
__device__ inline void commit_products() { asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory"); }

// Until no more than the kPending youngest groups are on their way.
template <int kPending>
__device__ inline void wait_for_products_but() {
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
}

// Behind a wait: the compiler must not read the sums before it.
__device__ inline void settle(float (&sums)[128]) {
#pragma unroll
  for (float& sum : sums) asm volatile("" : "+f"(sum)::"memory");
}

// sums = A B^T or sums += A B^T, A [64, 16], B [256, 16].
template <BOrder kOrder>
__device__ inline void multiply_64x256(float (&sums)[128], uint64_t a, uint64_t b, bool adds) {
  asm volatile(
      "{\n"
      ".reg .pred p;\n"
      "setp.ne.b32 p, %130, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n256k16.f32.bf16.bf16 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
      "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
      "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63, "
      "%64, %65, %66, %67, %68, %69, %70, %71, %72, %73, %74, %75, %76, %77, %78, %79, "
      "%80, %81, %82, %83, %84, %85, %86, %87, %88, %89, %90, %91, %92, %93, %94, %95, "
      "%96, %97, %98, %99, %100, %101, %102, %103, %104, %105, %106, %107, %108, %109, %110, %111, "
      "%112, %113, %114, %115, %116, %117, %118, %119, %120, %121, %122, %123, %124, %125, %126, %127}, "
      "%128, %129, p, 1, 1, 0, %131;\n"
      "}\n"
      : "+f"(sums[0]), "+f"(sums[1]), "+f"(sums[2]), "+f"(sums[3]), "+f"(sums[4]), "+f"(sums[5]), "+f"(sums[6]),
        "+f"(sums[7]), "+f"(sums[8]), "+f"(sums[9]), "+f"(sums[10]), "+f"(sums[11]), "+f"(sums[12]), "+f"(sums[13]),
        "+f"(sums[14]), "+f"(sums[15]), "+f"(sums[16]), "+f"(sums[17]), "+f"(sums[18]), "+f"(sums[19]), "+f"(sums[20]),
        "+f"(sums[21]), "+f"(sums[22]), "+f"(sums[23]), "+f"(sums[24]), "+f"(sums[25]), "+f"(sums[26]), "+f"(sums[27]),
        "+f"(sums[28]), "+f"(sums[29]), "+f"(sums[30]), "+f"(sums[31]), "+f"(sums[32]), "+f"(sums[33]), "+f"(sums[34]),
        "+f"(sums[35]), "+f"(sums[36]), "+f"(sums[37]), "+f"(sums[38]), "+f"(sums[39]), "+f"(sums[40]), "+f"(sums[41]),
        "+f"(sums[42]), "+f"(sums[43]), "+f"(sums[44]), "+f"(sums[45]), "+f"(sums[46]), "+f"(sums[47]), "+f"(sums[48]),
        "+f"(sums[49]), "+f"(sums[50]), "+f"(sums[51]), "+f"(sums[52]), "+f"(sums[53]), "+f"(sums[54]), "+f"(sums[55]),
        "+f"(sums[56]), "+f"(sums[57]), "+f"(sums[58]), "+f"(sums[59]), "+f"(sums[60]), "+f"(sums[61]), "+f"(sums[62]),
        "+f"(sums[63]), "+f"(sums[64]), "+f"(sums[65]), "+f"(sums[66]), "+f"(sums[67]), "+f"(sums[68]), "+f"(sums[69]),
        "+f"(sums[70]), "+f"(sums[71]), "+f"(sums[72]), "+f"(sums[73]), "+f"(sums[74]), "+f"(sums[75]), "+f"(sums[76]),
        "+f"(sums[77]), "+f"(sums[78]), "+f"(sums[79]), "+f"(sums[80]), "+f"(sums[81]), "+f"(sums[82]), "+f"(sums[83]),
        "+f"(sums[84]), "+f"(sums[85]), "+f"(sums[86]), "+f"(sums[87]), "+f"(sums[88]), "+f"(sums[89]), "+f"(sums[90]),
        "+f"(sums[91]), "+f"(sums[92]), "+f"(sums[93]), "+f"(sums[94]), "+f"(sums[95]), "+f"(sums[96]), "+f"(sums[97]),
        "+f"(sums[98]), "+f"(sums[99]), "+f"(sums[100]), "+f"(sums[101]), "+f"(sums[102]), "+f"(sums[103]),
        "+f"(sums[104]), "+f"(sums[105]), "+f"(sums[106]), "+f"(sums[107]), "+f"(sums[108]), "+f"(sums[109]),
        "+f"(sums[110]), "+f"(sums[111]), "+f"(sums[112]), "+f"(sums[113]), "+f"(sums[114]), "+f"(sums[115]),
        "+f"(sums[116]), "+f"(sums[117]), "+f"(sums[118]), "+f"(sums[119]), "+f"(sums[120]), "+f"(sums[121]),
        "+f"(sums[122]), "+f"(sums[123]), "+f"(sums[124]), "+f"(sums[125]), "+f"(sums[126]), "+f"(sums[127])
      : "l"(a), "l"(b), "r"(static_cast<int>(adds)), "n"(static_cast<int>(kOrder)));
}

// The same for the 128 columns whose sums begin at kFirst, B [128, 16].
template <BOrder kOrder, int kFirst>
__device__ inline void multiply_64x128(float (&sums)[128], uint64_t a, uint64_t b, bool adds) {
  asm volatile(
      "{\n"
      ".reg .pred p;\n"
      "setp.ne.b32 p, %66, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {"
      "%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
      "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
      "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, "
      "%64, %65, p, 1, 1, 0, %67;\n"
      "}\n"
      : "+f"(sums[kFirst + 0]), "+f"(sums[kFirst + 1]), "+f"(sums[kFirst + 2]), "+f"(sums[kFirst + 3]),
        "+f"(sums[kFirst + 4]), "+f"(sums[kFirst + 5]), "+f"(sums[kFirst + 6]), "+f"(sums[kFirst + 7]),
        "+f"(sums[kFirst + 8]), "+f"(sums[kFirst + 9]), "+f"(sums[kFirst + 10]), "+f"(sums[kFirst + 11]),
        "+f"(sums[kFirst + 12]), "+f"(sums[kFirst + 13]), "+f"(sums[kFirst + 14]), "+f"(sums[kFirst + 15]),
        "+f"(sums[kFirst + 16]), "+f"(sums[kFirst + 17]), "+f"(sums[kFirst + 18]), "+f"(sums[kFirst + 19]),
        "+f"(sums[kFirst + 20]), "+f"(sums[kFirst + 21]), "+f"(sums[kFirst + 22]), "+f"(sums[kFirst + 23]),
        "+f"(sums[kFirst + 24]), "+f"(sums[kFirst + 25]), "+f"(sums[kFirst + 26]), "+f"(sums[kFirst + 27]),
        "+f"(sums[kFirst + 28]), "+f"(sums[kFirst + 29]), "+f"(sums[kFirst + 30]), "+f"(sums[kFirst + 31]),
        "+f"(sums[kFirst + 32]), "+f"(sums[kFirst + 33]), "+f"(sums[kFirst + 34]), "+f"(sums[kFirst + 35]),
        "+f"(sums[kFirst + 36]), "+f"(sums[kFirst + 37]), "+f"(sums[kFirst + 38]), "+f"(sums[kFirst + 39]),
        "+f"(sums[kFirst + 40]), "+f"(sums[kFirst + 41]), "+f"(sums[kFirst + 42]), "+f"(sums[kFirst + 43]),
        "+f"(sums[kFirst + 44]), "+f"(sums[kFirst + 45]), "+f"(sums[kFirst + 46]), "+f"(sums[kFirst + 47]),
        "+f"(sums[kFirst + 48]), "+f"(sums[kFirst + 49]), "+f"(sums[kFirst + 50]), "+f"(sums[kFirst + 51]),
        "+f"(sums[kFirst + 52]), "+f"(sums[kFirst + 53]), "+f"(sums[kFirst + 54]), "+f"(sums[kFirst + 55]),
        "+f"(sums[kFirst + 56]), "+f"(sums[kFirst + 57]), "+f"(sums[kFirst + 58]), "+f"(sums[kFirst + 59]),
        "+f"(sums[kFirst + 60]), "+f"(sums[kFirst + 61]), "+f"(sums[kFirst + 62]), "+f"(sums[kFirst + 63])
      : "l"(a), "l"(b), "r"(static_cast<int>(adds)), "n"(static_cast<int>(kOrder)));
}

}  // namespace centavo
