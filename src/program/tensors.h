// Which elements of which tensor lie where in a program's persistent memory.
//
// Passes lay tensors end to end, cut them over ranks and move them to the host. Whoever has to do with the tensors
// themselves (initial values, checkpoints, export, the comparison of ranks) asks here and knows nothing of cuts.
//
// A flat buffer with a layout holds, for each tensor T of its unit, T itself where it is the unit (or its shard), and
// `T.SUFFIX` where it is the state `UNIT.SUFFIX`. A persistent buffer without layout is a tensor of its own.
#pragma once

#include <string>
#include <vector>

#include "program/program.h"

namespace centavo {

// Elements [begin, end) of a tensor, in row-major order; they lie in `buffer` from element `at` on.
struct TensorPart {
  std::string tensor;
  DType dtype = DType::f32;
  Shape shape;  // of the whole tensor
  BufferKind kind = BufferKind::parameter;
  int64_t begin = 0;
  int64_t end = 0;
  BufferId buffer = kNone;
  int64_t at = 0;

  int64_t elements() const { return end - begin; }
  bool operator==(const TensorPart&) const = default;
};

// Of all persistent buffers that are the program's own (not borrowed), in the order of the buffers.
std::vector<TensorPart> tensor_parts(const Program& program);

struct LogicalTensor {
  std::string name;
  DType dtype = DType::f32;
  Shape shape;
  BufferKind kind = BufferKind::parameter;
  bool operator==(const LogicalTensor&) const = default;
};

// The tensors that all ranks hold together, also those of which this one has no element; in the order of the buffers.
std::vector<LogicalTensor> logical_tensors(const Program& program);

}  // namespace centavo
