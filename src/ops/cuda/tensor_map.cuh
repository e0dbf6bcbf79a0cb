// Maps: how the bulk copy engine is told of a matrix (ops/cuda/bulk_copies.cuh).
//
// Made by a function of the driver, which the CUDA runtime looks up: nothing is linked for it.
// Source: NVIDIA, "CUDA Driver API", cuTensorMapEncodeTiled.
#pragma once

#include <cuda.h>

#include <cstdint>

namespace centavo {

// A row-major matrix of bf16 and the box that one copy moves, 64 columns (128 bytes) wide.
struct MappedMatrix {
  const void* data = nullptr;  // at a multiple of 16 bytes
  int64_t rows = 0;
  int64_t columns = 0;
  int64_t stride = 0;  // elements between rows, a multiple of 8
  int box_rows = 0;    // up to 256
};

constexpr int kBoxColumns = 64;

// Needs no stream and enqueues nothing. Throws DeviceError.
CUtensorMap map_of(const MappedMatrix& matrix);

}  // namespace centavo
