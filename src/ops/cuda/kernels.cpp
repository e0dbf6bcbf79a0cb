#include "ops/cuda/kernels.h"

#include <algorithm>

#include "ops/adamw/adamw.h"
#include "ops/add/add.h"
#include "ops/advance/advance.h"
#include "ops/attention/attention.h"
#include "ops/attention/attention_cuda.h"
#include "ops/cast/cast.h"
#include "ops/clip/clip.h"
#include "ops/copy/copy.h"
#include "ops/embedding/embedding.h"
#include "ops/fill/fill.h"
#include "ops/gelu/gelu.h"
#include "ops/layernorm/layernorm.h"
#include "ops/linear/linear.h"
#include "ops/linear_swiglu/linear_dx_swiglu_grad.h"
#include "ops/linear_swiglu/linear_swiglu.h"
#include "ops/lm_head_loss/lm_head_loss.h"
#include "ops/normal/normal.h"
#include "ops/quantize/quantize.h"
#include "ops/rmsnorm/rmsnorm.h"
#include "ops/rope/rope.h"
#include "ops/sqnorm/sqnorm.h"
#include "ops/swiglu/swiglu.h"
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
      {"embedding", embedding_cuda},
      {"embedding_grad", embedding_grad_cuda, embedding_grad_cuda_workspace},
      {"linear", linear_cuda, linear_cuda_workspace},
      {"linear_dx", linear_dx_cuda, linear_dx_cuda_workspace},
      {"linear_dw", linear_dw_cuda, linear_dw_cuda_workspace},
      {"linear_db", linear_db_cuda},
      {"linear_swiglu", linear_swiglu_cuda, linear_swiglu_cuda_workspace},
      {"linear_dx_swiglu_grad", linear_dx_swiglu_grad_cuda, linear_dx_swiglu_grad_cuda_workspace},
      {"rmsnorm", rmsnorm_cuda},
      {"rmsnorm_grad", rmsnorm_grad_cuda, rmsnorm_grad_cuda_workspace},
      {"layernorm", layernorm_cuda},
      {"layernorm_grad", layernorm_grad_cuda, layernorm_grad_cuda_workspace},
      {"rope_table", rope_table_cuda},
      {"rope", rope_cuda},
      {"rope_grad", rope_grad_cuda},
      {"attention", attention_cuda, attention_cuda_workspace},
      {"attention_grad", attention_grad_cuda, attention_grad_cuda_workspace},
      {"swiglu", swiglu_cuda},
      {"swiglu_grad", swiglu_grad_cuda},
      {"gelu", gelu_cuda},
      {"gelu_grad", gelu_grad_cuda},
      {"lm_head_loss", lm_head_loss_cuda, lm_head_loss_cuda_workspace},
      {"lm_head_loss_grad", lm_head_loss_cuda, lm_head_loss_cuda_workspace},
      {"sqnorm", sqnorm_cuda},
      {"clip", clip_cuda, clip_cuda_workspace},
      {"adamw", adamw_cuda},
      {"amax", amax_cuda},
      {"add", add_cuda},
      {"cast", cast_cuda},
      {"copy", copy_cuda},
      {"quantize", quantize_cuda},
      {"tree_sum", tree_sum_cuda, tree_sum_cuda_workspace},
      {"fill", fill_cuda},
      {"normal", normal_cuda},
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
