// The numbers of gelu.h, for the kernels of both machines.
#pragma once

namespace centavo {

constexpr double kGeluScale = 1.5957691216057308;  // 2 sqrt(2 / pi)
constexpr double kGeluCubic = 0.044715;
// Where x^2 stops to grow in the derivative, which is 0 or 1 there in every dtype: 1 - sigma is 0, and what it is
// multiplied by must be finite.
constexpr double kGeluFarSquare = 1024;

}  // namespace centavo
