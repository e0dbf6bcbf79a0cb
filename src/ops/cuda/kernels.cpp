#include "ops/cuda/kernels.h"

#include <algorithm>

#include "ops/adamw/adamw.h"
#include "ops/advance/advance.h"
#include "ops/clip/clip.h"
#include "ops/embedding/embedding.h"
#include "ops/quantize/quantize.h"
#include "ops/sqnorm/sqnorm.h"
#include "ops/tree_sum/tree_sum.h"

namespace centavo {
namespace {

struct Row {
  std::string_view kind;
  CudaKernel (*cuda)(const OpView&, const CudaTraits&);
  int64_t (*workspace_bytes)(const OpView&, const CudaTraits&) = nullptr;
};

const std::vector<Row>& kernels() {
  static const std::vector<Row> rows = {
      {"embedding", embedding_cuda}, {"embedding_grad", embedding_grad_cuda, embedding_grad_cuda_workspace},
      {"sqnorm", sqnorm_cuda},       {"clip", clip_cuda, clip_cuda_workspace},
      {"adamw", adamw_cuda},         {"amax", amax_cuda},
      {"quantize", quantize_cuda},   {"tree_sum", tree_sum_cuda, tree_sum_cuda_workspace},
      {"advance", advance_cuda},
  };
  return rows;
}

}  // namespace

void add_cuda_kernels(std::vector<OpDef>& rows) {
  for (const Row& kernel : kernels()) {
    const auto row = std::ranges::find(rows, kernel.kind, &OpDef::kind);
    CHECK(row != rows.end(), "there is no op {} for its CUDA kernel", kernel.kind);
    row->cuda = kernel.cuda;
    row->cuda_workspace_bytes = kernel.workspace_bytes;
  }
}

bool built_with_cuda() { return true; }

}  // namespace centavo
