#include "ops/all.h"

#include "ops/adamw/adamw.h"
#include "ops/add/add.h"
#include "ops/advance/advance.h"
#include "ops/all_gather/all_gather.h"
#include "ops/all_reduce/all_reduce.h"
#include "ops/attention/attention.h"
#include "ops/cast/cast.h"
#include "ops/clip/clip.h"
#include "ops/copy/copy.h"
#include "ops/cuda/kernels.h"
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
#include "ops/reduce_scatter/reduce_scatter.h"
#include "ops/rmsnorm/rmsnorm.h"
#include "ops/rope/rope.h"
#include "ops/sqnorm/sqnorm.h"
#include "ops/swiglu/swiglu.h"
#include "ops/tree_sum/tree_sum.h"

namespace centavo {

OpTable all_ops() {
  std::vector<OpDef> rows = {
      embedding_def(),     embedding_grad_def(),  //
      linear_def(),        linear_dx_def(),
      linear_dw_def(),     linear_db_def(),
      linear_swiglu_def(), linear_dx_swiglu_grad_def(),  //
      rmsnorm_def(),       rmsnorm_grad_def(),           //
      layernorm_def(),     layernorm_grad_def(),         //
      rope_table_def(),    rope_def(),
      rope_grad_def(),                               //
      attention_def(),     attention_grad_def(),     //
      swiglu_def(),        swiglu_grad_def(),        //
      gelu_def(),          gelu_grad_def(),          //
      lm_head_loss_def(),  lm_head_loss_grad_def(),  //
      sqnorm_def(),        clip_def(),
      adamw_def(),  //
      add_def(),           cast_def(),
      copy_def(),                           //
      amax_def(),          quantize_def(),  //
      fill_def(),          normal_def(),
      tree_sum_def(),  //
      advance_def(),       all_gather_def(),
      all_reduce_def(),    reduce_scatter_def(),  //
  };
  add_cuda_kernels(rows);
  return OpTable(std::move(rows));
}

}  // namespace centavo
