// A keyed permutation of [0, n) that needs no storage.
//
// A balanced Feistel network of six rounds over 2h bits, 2h the least even number with 2^2h >= n; the round function
// is Philox. A result outside [0, n) goes through the network again until it lies inside (cycle walking): still a
// bijection of [0, n), and since 2^2h < 4n for n > 1 about four passes at most on average.
//
// Source: Black and Rogaway, "Ciphers with arbitrary finite domains", CT-RSA 2002.
#pragma once

#include <cstdint>

namespace centavo {

// The image of `index` under the permutation picked by (key, stream). Needs 0 <= index < n.
int64_t permuted(int64_t index, int64_t n, uint64_t key, uint64_t stream);

}  // namespace centavo
