#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cmath>
#include <cstdint>
#include <limits>
#include <numeric>
#include <string>
#include <vector>

#include "base/dtype.h"
#include "base/errors.h"
#include "base/nearest.h"
#include "base/parallel.h"
#include "base/rng.h"

namespace centavo::testing {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

template <class T>
T from_bits(int bits) {
  T value;
  value.bits = static_cast<decltype(value.bits)>(bits);
  return value;
}

// The codes of the finite magnitudes of T, ascending, are 0, 1, 2, ..., `last`.
template <class T>
void expect_rounding_between_neighbours(int last) {
  for (int code = 0; code < last; ++code) {
    const float low = static_cast<float>(from_bits<T>(code));
    const float high = static_cast<float>(from_bits<T>(code + 1));
    const float middle = low + (high - low) / 2;  // exact: f32 has the bits
    ASSERT_LT(low, high) << code;
    const int even = code + code % 2;
    for (const float sign : {1.0f, -1.0f}) {
      const auto rounded = [&](float magnitude) { return std::fabs(static_cast<float>(T(sign * magnitude))); };
      ASSERT_EQ(rounded(middle), static_cast<float>(from_bits<T>(even))) << code;
      ASSERT_EQ(rounded(std::nextafter(middle, 0.0f)), low) << code;
      ASSERT_EQ(rounded(std::nextafter(middle, kInfinity)), high) << code;
    }
  }
}

template <class T>
void expect_round_trip(int codes) {
  for (int code = 0; code < codes; ++code) {
    const T value = from_bits<T>(code);
    const float wide = static_cast<float>(value);
    if (std::isnan(wide)) {
      ASSERT_TRUE(std::isnan(static_cast<float>(T(wide)))) << code;
    } else if (std::isfinite(wide)) {
      ASSERT_EQ(T(wide).bits, value.bits) << code;
    }
  }
}

template <class T>
void expect_saturates_at(float largest) {
  for (const float beyond : {largest * 1.5f, 1e30f, std::numeric_limits<float>::max(), kInfinity}) {
    EXPECT_EQ(static_cast<float>(T(beyond)), largest) << beyond;
    EXPECT_EQ(static_cast<float>(T(-beyond)), -largest) << beyond;
  }
  EXPECT_TRUE(std::isnan(static_cast<float>(T(std::nanf("")))));
}

TEST(Bf16, EveryCodeRoundTrips) {
  expect_round_trip<bf16>(1 << 16);
  for (const float value : {kInfinity, -kInfinity}) EXPECT_EQ(static_cast<float>(bf16(value)), value);
}

TEST(Bf16, RoundsToNearestTiesToEven) {
  EXPECT_EQ(bf16(1.0f).bits, 0x3f80);
  EXPECT_EQ(bf16(1.0f + 0x1p-8f).bits, 0x3f80);      // halfway, down to even
  EXPECT_EQ(bf16(1.0f + 3 * 0x1p-8f).bits, 0x3f82);  // halfway, up to even
  EXPECT_EQ(bf16(3.4e38f).bits, 0x7f80);             // above the largest by more than half a step
  expect_rounding_between_neighbours<bf16>(0x7f7f);
}

TEST(Fp8, ValuesByHand) {
  EXPECT_EQ(f8e4m3(1.0f).bits, 0x38);
  EXPECT_EQ(f8e4m3(448.0f).bits, 0x7e);
  EXPECT_EQ(f8e4m3(0x1p-9f).bits, 0x01);
  EXPECT_EQ(f8e5m2(1.0f).bits, 0x3c);
  EXPECT_EQ(f8e5m2(57344.0f).bits, 0x7b);
  EXPECT_EQ(f8e5m2(0x1p-16f).bits, 0x01);
  EXPECT_EQ(static_cast<float>(from_bits<f8e5m2>(0x7c)), kInfinity);
}

TEST(Fp8, EveryCodeRoundTrips) {
  expect_round_trip<f8e4m3>(256);
  expect_round_trip<f8e5m2>(256);
}

TEST(Fp8, RoundsToNearestTiesToEven) {
  expect_rounding_between_neighbours<f8e4m3>(0x7e);
  expect_rounding_between_neighbours<f8e5m2>(0x7b);
}

TEST(Fp8, SaturatesAndKeepsNan) {
  expect_saturates_at<f8e4m3>(448.0f);
  expect_saturates_at<f8e5m2>(57344.0f);
}

TEST(DTypes, NamesSizesAndRoundoff) {
  for (const DType dtype :
       {DType::f64, DType::f32, DType::bf16, DType::f8e4m3, DType::f8e5m2, DType::i32, DType::i64, DType::u8}) {
    DType parsed = DType::u8;
    EXPECT_TRUE(parse_dtype(name_of(dtype), parsed));
    EXPECT_EQ(parsed, dtype);
    EXPECT_EQ(is_float(dtype), unit_roundoff(dtype) > 0);
  }
  DType untouched = DType::i32;
  EXPECT_FALSE(parse_dtype("float", untouched));
  EXPECT_EQ(untouched, DType::i32);
}

// 1 + 2u is the next number after 1, and the middle between them rounds to 1.
TEST(DTypes, RoundoffIsThatOfTheType) {
  for (const DType dtype : {DType::f64, DType::f32, DType::bf16, DType::f8e4m3, DType::f8e5m2}) {
    visit_float(dtype, [&]<class T>(TypeTag<T>) {
      const double u = unit_roundoff(dtype);
      EXPECT_EQ(sizeof(T), static_cast<size_t>(size_of(dtype)));
      EXPECT_EQ(convert<double>(convert<T>(1 + 2 * u)), 1 + 2 * u) << name_of(dtype);
      EXPECT_EQ(convert<double>(convert<T>(1 + u)), 1) << name_of(dtype);
    });
  }
}

TEST(StochasticRound, CountsOfAllDraws) {
  // Of the 2^16 draws exactly as many go up as the value lies above its lower neighbour, in 2^-16 of the step.
  for (const uint32_t fraction : {0u, 1u, 0x4000u, 0x8000u, 0xffffu}) {
    for (const uint32_t upper : {0x3f80u, 0xbf81u, 0x0000u, 0x0001u, 0x7f00u}) {
      const float value = std::bit_cast<float>((upper << 16) | fraction);
      uint32_t up = 0;
      for (uint32_t random = 0; random < 0x10000u; ++random) {
        const uint32_t bits = stochastic_round(value, random).bits;
        ASSERT_TRUE(bits == upper || bits == upper + 1);
        up += bits - upper;
      }
      EXPECT_EQ(up, fraction) << value;
    }
  }
}

TEST(StochasticRound, UnbiasedUnderPhilox) {
  constexpr int kDraws = 1 << 16;
  const RandomStream stream = random_stream(1, 2, 3, 4);
  const double value = 1.0 + 0.3 * 0x1p-7;
  double sum = 0;
  for (uint64_t i = 0; i < kDraws; ++i) {
    sum += static_cast<float>(stochastic_round(static_cast<float>(value), stream.bits(i)));
  }
  // Standard deviation of the mean: step * sqrt(0.3 * 0.7 / draws); 5 of them.
  EXPECT_NEAR(sum / kDraws, value, 5 * 0x1p-7 * std::sqrt(0.21 / kDraws));
}

TEST(StochasticRound, NotFinite) {
  EXPECT_EQ(static_cast<float>(stochastic_round(-kInfinity, 0xffff)), -kInfinity);
  EXPECT_TRUE(std::isnan(static_cast<float>(stochastic_round(std::nanf(""), 0xffff))));
}

// Known answers of Random123's kat_vectors, philox4x32-10.
TEST(Philox, KnownAnswers) {
  using Words = std::array<uint32_t, 4>;
  EXPECT_EQ(philox(0, 0, 0), (Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(philox(UINT64_MAX, UINT64_MAX, UINT64_MAX), (Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(philox(0x299f31d0a4093822, 0x85a308d3243f6a88, 0x0370734413198a2e),
            (Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

// Element 8 g + j takes half j % 2 of word j / 2 of group g, wherever a range of elements begins and ends.
TEST(RandomStreams, AGroupOfEightSharesOneCall) {
  const RandomStream stream = random_stream(1, 2, 3, 4);
  for (const uint64_t operand : {uint64_t{0}, uint64_t{2}, uint64_t{7}}) {
    for (const uint64_t first : {uint64_t{0}, uint64_t{5}, uint64_t{16}, (uint64_t{1} << 35) - 9}) {
      for (const int64_t count : {0, 1, 2, 8, 21, 203}) {
        std::vector<uint16_t> draws(static_cast<size_t>(count) + 1, 0xabcd);
        draw16(stream, operand, first, count, draws.data());
        for (size_t i = 0; i < static_cast<size_t>(count); ++i) {
          const uint64_t element = first + i;
          const auto words = philox(stream.key, (operand << 61) + element / 8, stream.stream);
          const uint32_t expected = words[element % 8 / 2] >> (element % 2 == 0 ? 0 : 16) & 0xffffu;
          EXPECT_EQ(draws[i], expected) << operand << " " << element;
          EXPECT_EQ(stream.draw16(operand, element), expected) << operand << " " << element;
        }
        EXPECT_EQ(draws.back(), 0xabcd) << "written beyond the end";
      }
    }
  }
}

TEST(RandomStreams, EveryKeyMatters) {
  const auto first = [](const RandomStream& stream) { return stream.bits(0); };
  const uint32_t base = first(random_stream(1, 1, 1, 1));
  EXPECT_EQ(first(random_stream(1, 1, 1, 1)), base);
  EXPECT_NE(first(random_stream(2, 1, 1, 1)), base);
  EXPECT_NE(first(random_stream(1, 2, 1, 1)), base);
  EXPECT_NE(first(random_stream(1, 1, 2, 1)), base);
  EXPECT_NE(first(random_stream(1, 1, 1, 2)), base);
  EXPECT_NE(random_stream(1, 1, 1, 1).bits(1), base);
  EXPECT_NE(stream_of("ab", 2), stream_of("ba", 2));
}

// Each mean is within 5 standard deviations of what the distribution says.
TEST(RandomStreams, Moments) {
  constexpr int kDraws = 1 << 16;
  const RandomStream stream = random_stream(7, 0, 0, 0);
  double uniform = 0, normal = 0, square = 0;
  for (uint64_t i = 0; i < kDraws; ++i) {
    const double u = stream.uniform(i);
    ASSERT_TRUE(u >= 0 && u < 1);
    uniform += u;
    normal += stream.normal(i);
    square += stream.normal(i) * stream.normal(i);
  }
  const double deviation = 5 / std::sqrt(static_cast<double>(kDraws));
  EXPECT_NEAR(uniform / kDraws, 0.5, deviation * std::sqrt(1.0 / 12));
  EXPECT_NEAR(normal / kDraws, 0.0, deviation);
  EXPECT_NEAR(square / kDraws, 1.0, deviation * std::sqrt(2.0));
}

TEST(Nearest, FindsWhatWasMeant) {
  const std::vector<std::string> names = {"hidden_size", "num_layers", "vocab_size"};
  EXPECT_EQ(nearest_name("hiden_size", names), "hidden_size");
  EXPECT_EQ(nearest_name("num_layer", names), "num_layers");
  EXPECT_EQ(nearest_name("vocab_size", names), "vocab_size");
  EXPECT_EQ(nearest_name("optimizer", names), "");
  EXPECT_EQ(nearest_name("x", {}), "");
  EXPECT_EQ(did_you_mean("vocabsize", names), ", did you mean vocab_size?");
  EXPECT_EQ(did_you_mean("optimizer", names), "");
}

std::vector<int> visits(int64_t n, int64_t grain) {
  std::vector<int> count(static_cast<size_t>(n), 0);
  parallel_ranges(n, grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) ++count[static_cast<size_t>(i)];
  });
  return count;
}

TEST(Parallel, EachIndexOnce) {
  const int threads = omp_get_max_threads();
  for (const int used : {1, 2, 3, 7}) {
    omp_set_num_threads(used);
    for (const int64_t n : {0, 1, 2, 31, 32, 33, 1000}) {
      for (const int64_t grain : {0, 1, 5, 100, 5000}) {
        EXPECT_EQ(visits(n, grain), std::vector<int>(static_cast<size_t>(n), 1)) << n << " by " << grain;
      }
      std::vector<int> count(static_cast<size_t>(n), 0);
      parallel_items(n, [&](int64_t i) { ++count[static_cast<size_t>(i)]; });
      parallel_for(n, 1, [&](int64_t i) { ++count[static_cast<size_t>(i)]; });
      EXPECT_EQ(count, std::vector<int>(static_cast<size_t>(n), 2)) << n;
    }
  }
  omp_set_num_threads(threads);
}

TEST(Parallel, NoPartIsSmallerThanTheGrain) {
  for (const int64_t n : {10, 99, 100, 101, 250}) {
    std::vector<int64_t> sizes(static_cast<size_t>(n), 0);  // by first index
    parallel_ranges(n, 100, [&](int64_t begin, int64_t end) { sizes[static_cast<size_t>(begin)] = end - begin; });
    EXPECT_EQ(std::accumulate(sizes.begin(), sizes.end(), int64_t{0}), n);
    for (const int64_t size : sizes) EXPECT_TRUE(size == 0 || size >= std::min<int64_t>(n, 100)) << size;
  }
}

TEST(Errors, CarryTheirWords) {
  try {
    user_error("cannot read {}; give {}", "x.toml", 3);
    FAIL();
  } catch (const UserError& error) {
    EXPECT_STREQ(error.what(), "cannot read x.toml; give 3");
  }
  errno = ENOSPC;
  try {
    io_error("write", "/data/x");
    FAIL();
  } catch (const IoError& error) {
    EXPECT_STREQ(error.what(), "write of /data/x failed: No space left on device");
  }
}

TEST(ErrorsDeathTest, CheckNamesTheExpression) {
  EXPECT_DEATH(CHECK(1 + 1 == 3, "sum of {}", 2), "1 \\+ 1 == 3 is false at .*base_test.cpp:[0-9]+: sum of 2");
  EXPECT_DEATH(CHECK(false), "false is false");
  CHECK(true);
}

}  // namespace
}  // namespace centavo::testing
