// h of one element, for forward and backward: the same bits from both, so no compiler may choose how they are rounded.
#pragma once

namespace centavo {

__device__ inline float normed(float xhat, float weight) { return __fmul_rn(xhat, weight); }
__device__ inline float normed(float xhat, float weight, float bias) { return __fmaf_rn(xhat, weight, bias); }

}  // namespace centavo
