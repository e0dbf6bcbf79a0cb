// The squared norm of a unit from the partial sums of its blocks, wherever ranks have computed them.
//
//   sum[0] = sum over p in [0, parts), j in [0, count) of partials[p stride + begin + j]       [1]  f32
//
// The terms are added in f64 as a complete binary tree over the index p count + j (ops/tree_sum/binary_tree.h) and the
// total is rounded to f32 once. partials: any shape, f32. A unit's blocks in order, cut into `parts` or not, with zero
// blocks behind them or not, give the same bits.
//
// Aliasing: sum shares no memory with partials. Error: at most log2(terms) roundoffs of f64 and one of f32, relative to
// a sum of terms that are not negative. No gradient.
#pragma once

#include "program/builder.h"

namespace centavo {

struct TreeWindow {
  int64_t parts = 1;
  int64_t stride = 0;
  int64_t begin = 0;
  int64_t count = 0;
};

BufferId tree_sum(Builder& b, BufferId partials, const Into& sum, const TreeWindow& window);

std::map<std::string, Attribute> tree_sum_attributes(const TreeWindow& window);

//   sum = tree_sum(partials) parts stride begin count
OpDef tree_sum_def();

CpuKernel tree_sum_cpu(const OpView& view, const CpuTraits& traits);
CudaKernel tree_sum_cuda(const OpView& view, const CudaTraits& traits);
// Bytes of the sums of subtrees.
int64_t tree_sum_cuda_workspace(const OpView& view, const CudaTraits& traits);

}  // namespace centavo
