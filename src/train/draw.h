// Drawing a token from logits.
//
//   temperature 0   the largest logit; of equal ones the first
//   else            from softmax(logits / temperature), of which are kept
//                     top_k > 0   the top_k likeliest tokens, and of these
//                     top_p < 1   the fewest likeliest ones whose shares of the kept sum to at least top_p
//                   Of equal logits the first tokens are kept. The draw is the smallest kept token at which the sum
//                   of the kept shares, in the order of tokens, exceeds `uniform`.
//
// Source: Fan et al., "Hierarchical Neural Story Generation", 2018 (top-k); Holtzman et al., "The Curious Case of
// Neural Text Degeneration", 2020 (top-p).
#pragma once

#include <cstdint>
#include <span>

namespace centavo {

struct DrawSettings {
  double temperature = 0.8;
  int64_t top_k = 0;  // 0: all
  double top_p = 1;
};

// UserError, unless temperature >= 0, top_k >= 0 and 0 < top_p <= 1.
void require_valid(const DrawSettings& settings);

// `logits` are finite and at least one; `uniform` lies in [0, 1).
int32_t draw(std::span<const double> logits, const DrawSettings& settings, double uniform);

}  // namespace centavo
