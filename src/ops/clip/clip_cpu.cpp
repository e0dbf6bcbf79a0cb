#include <algorithm>
#include <cmath>

#include "ops/clip/clip.h"
#include "ops/tree_sum/binary_tree.h"

namespace centavo {
namespace {

constexpr double kNormEps = 1e-6;

double clip_factor(double norm, double max_norm) {
  return max_norm > 0 ? std::min(1.0, max_norm / (norm + kNormEps)) : 1.0;
}

struct Sums {
  double squares, loss;
  int32_t count;
};

void finish(const Sums& sums, double max_norm, const CpuCall& call) {
  const double tokens = sums.count;
  const double norm = std::sqrt(sums.squares) / tokens;
  const bool finite = std::isfinite(norm) && std::isfinite(sums.loss) && sums.count > 0;
  *call.out<float>(0) = finite ? static_cast<float>(clip_factor(norm, max_norm) / tokens) : 0.0f;
  *call.out<int32_t>(1) = finite ? 1 : 0;
  float* metrics = call.out<float>(2);
  metrics[0] = static_cast<float>(sums.loss / tokens);
  metrics[1] = static_cast<float>(norm);
  metrics[2] = static_cast<float>(tokens);
  metrics[3] = finite ? 1.0f : 0.0f;
}

}  // namespace

CpuKernel clip_cpu(const OpView& v, const CpuTraits&) {
  const int64_t count = v.input(0).elements();
  const double max_norm = v.real("max_norm");
  const bool loss_is_f64 = v.input(1).dtype == DType::f64;
  return [=](const CpuCall& call) {
    const double loss = loss_is_f64 ? *call.in<double>(1) : static_cast<double>(*call.in<float>(1));
    finish({tree_sum(count, [&](int64_t i) { return call.in<float>(0)[i]; }), loss, *call.in<int32_t>(2)}, max_norm,
           call);
  };
}

}  // namespace centavo
