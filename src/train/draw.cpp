#include "train/draw.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "base/errors.h"

namespace centavo {
namespace {

struct Candidate {
  int32_t token = 0;
  double weight = 0;  // exp((logit - largest) / temperature)
};

bool likelier(const Candidate& a, const Candidate& b) {
  return a.weight != b.weight ? a.weight > b.weight : a.token < b.token;
}

double sum(const std::vector<Candidate>& candidates) {
  return std::accumulate(candidates.begin(), candidates.end(), 0.0,
                         [](double total, const Candidate& c) { return total + c.weight; });
}

// The fewest of the sorted candidates that hold top_p of their sum.
size_t count_for(const std::vector<Candidate>& sorted, double top_p) {
  double missing = top_p * sum(sorted);
  size_t count = 0;
  while (count < sorted.size() && missing > 0) missing -= sorted[count++].weight;
  return std::max<size_t>(count, 1);
}

void keep_likeliest(std::vector<Candidate>& candidates, const DrawSettings& settings) {
  const size_t all = candidates.size();
  const size_t k = settings.top_k > 0 ? std::min(all, static_cast<size_t>(settings.top_k)) : all;
  if (k == all && settings.top_p >= 1) return;
  std::partial_sort(candidates.begin(), candidates.begin() + static_cast<int64_t>(k), candidates.end(), likelier);
  candidates.resize(k);
  if (settings.top_p < 1) candidates.resize(count_for(candidates, settings.top_p));
  std::ranges::sort(candidates, {}, &Candidate::token);
}

}  // namespace

void require_valid(const DrawSettings& settings) {
  if (!(settings.temperature >= 0) || !std::isfinite(settings.temperature)) {
    user_error("the temperature is {}; give a number from 0 on, where 0 takes the likeliest token",
               settings.temperature);
  }
  if (settings.top_k < 0) user_error("top-k is {}; give a number of tokens, or 0 for all", settings.top_k);
  if (!(settings.top_p > 0 && settings.top_p <= 1)) {
    user_error("top-p is {}; give a share above 0 and up to 1", settings.top_p);
  }
}

int32_t draw(std::span<const double> logits, const DrawSettings& settings, double uniform) {
  const auto best = std::ranges::max_element(logits);
  if (settings.temperature == 0) return static_cast<int32_t>(best - logits.begin());
  std::vector<Candidate> candidates;
  candidates.reserve(logits.size());
  for (size_t i = 0; i < logits.size(); ++i) {
    candidates.push_back({static_cast<int32_t>(i), std::exp((logits[i] - *best) / settings.temperature)});
  }
  keep_likeliest(candidates, settings);
  double rest = uniform * sum(candidates);
  const Candidate* last = &candidates.front();
  for (const Candidate& c : candidates) {
    if (c.weight == 0) continue;  // the sum may round below `uniform` times itself: then the last one that can occur
    last = &c;
    rest -= c.weight;
    if (rest < 0) break;
  }
  return last->token;
}

}  // namespace centavo
