// The matrix products of the linear layer and its gradients, read off their ops: the same on every machine.
#pragma once

#include "ops/linear/product.h"
#include "program/op_table.h"

namespace centavo {

// What the three have in common: operand dtypes, scale, write or add.
inline ProductSpec linear_base(const OpView& v) {
  return {.a = v.input(0).dtype,
          .b = v.input(1).dtype,
          .c = v.output(0).dtype,
          .scale = v.real("scale"),
          .bind = v.op().outputs[0].bind};
}

// y [N, M] = x weight^T, without the bias.
inline ProductSpec linear_product(const OpView& v) {
  ProductSpec s = linear_base(v);
  s.m = v.in(0)[0], s.n = v.in(1)[0], s.k = v.in(0)[1];
  s.transpose_b = true;
  return s;
}

// dx [N, K] = dy weight.
inline ProductSpec linear_dx_product(const OpView& v) {
  ProductSpec s = linear_base(v);
  s.m = v.in(0)[0], s.n = v.in(1)[1], s.k = v.in(0)[1];
  return s;
}

// dweight [M, K] = dy^T x.
inline ProductSpec linear_dw_product(const OpView& v) {
  ProductSpec s = linear_base(v);
  s.m = v.in(0)[1], s.n = v.in(1)[1], s.k = v.in(0)[0];
  s.transpose_a = true;
  return s;
}

}  // namespace centavo
