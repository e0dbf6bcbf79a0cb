#include "ops/cuda/kernels.h"

#include <algorithm>

#include "ops/attention/attention.h"

namespace centavo {
namespace {

struct Row {
  std::string_view kind;
  CudaKernel (*cuda)(const OpView&, const CudaTraits&);
  int64_t (*workspace_bytes)(const OpView&, const CudaTraits&) = nullptr;
};

const std::vector<Row>& kernels() {
  static const std::vector<Row> rows = {
      {"attention", attention_cuda, attention_cuda_workspace},
      {"attention_grad", attention_grad_cuda, attention_grad_cuda_workspace},
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
