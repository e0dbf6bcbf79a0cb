// Who writes what of a checkpoint, and how it is called in the files.
//
// Ranks hold elements of tensors (program/tensors.h), several often the same ones. What R ranks hold, each element
// once: the borders of all ranks' parts cut a tensor into intervals that a fixed set of K ranks holds; they share an
// interval evenly in grains of 64 elements, so that small tensors are not torn: of G grains the k-th writes [ceil(G k /
// K), ceil(G (k + 1) / K)). A rank alone writes every tensor whole.
//
// A tensor written whole is stored under its own name, in its own shape; a piece of it, elements [BEGIN, END) in
// row-major order, as the vector `NAME@BEGIN`. Names of tensors hold no '@'.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "base/byte_source.h"
#include "base/communicator.h"
#include "base/dtype.h"
#include "model/hf/safetensors.h"

namespace centavo {

// Elements [begin, end) of a tensor, in row-major order, that this rank holds.
struct StatePart {
  std::string tensor;
  DType dtype = DType::f32;
  Shape shape;  // of the whole tensor
  int64_t begin = 0;
  int64_t end = 0;
  ByteSource bytes;
};

// Elements [begin, end) of a tensor, written by rank `writer` to its file.
struct Piece {
  int64_t writer = 0;
  int64_t begin = 0;
  int64_t end = 0;
  bool operator==(const Piece&) const = default;
};

struct TensorPieces {
  std::string name;
  DType dtype = DType::f32;
  Shape shape;
  std::vector<Piece> pieces;  // ascending; they tile the tensor
  bool operator==(const TensorPieces&) const = default;
};

// All ranks call it with what they hold, and get the same: every tensor, by name. RankError when ranks differ about a
// tensor or hold an element nowhere.
std::vector<TensorPieces> share_out(Communicator& communicator, std::span<const StatePart> held);

std::string stored_name(const TensorPieces& tensor, const Piece& piece);
Shape stored_shape(const TensorPieces& tensor, const Piece& piece);

// What rank `writer` writes, from what it holds; no copy.
std::vector<TensorParts> pieces_of(int64_t writer, std::span<const TensorPieces> tensors,
                                   std::span<const StatePart> held);

}  // namespace centavo
