#include "data/near_duplicates.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <string>

#include "base/rng.h"

namespace centavo {
namespace {

std::string noise(uint64_t seed, size_t size) {
  const RandomStream random = random_stream(seed, 0, 0, 0);
  std::string text(size, ' ');
  for (size_t i = 0; i < size; ++i) text[i] = static_cast<char>('a' + random.bits(i) % 26);
  return text;
}

std::set<std::string> shingles(const std::string& text) {
  std::set<std::string> all;
  for (size_t i = 0; i + kShingleBytes <= text.size(); ++i) all.insert(text.substr(i, kShingleBytes));
  return all;
}

double jaccard(const std::string& a, const std::string& b) {
  const std::set<std::string> x = shingles(a);
  const std::set<std::string> y = shingles(b);
  const auto both = std::ranges::count_if(x, [&](const std::string& s) { return y.contains(s); });
  return static_cast<double>(both) / static_cast<double>(static_cast<int64_t>(x.size() + y.size()) - both);
}

// `text` with every `step`-th byte replaced.
std::string edited(std::string text, size_t step) {
  for (size_t i = step / 2; i < text.size(); i += step) text[i] = '#';
  return text;
}

std::vector<uint32_t> found_in(const std::vector<std::string>& texts, const std::string& document) {
  std::vector<Signature> signatures;
  for (const std::string& text : texts) signatures.push_back(signature_of(text));
  NearDuplicateIndex index(signatures);
  index.mark_similar(signature_of(document));
  std::vector<uint32_t> found;
  for (uint32_t i = 0; i < texts.size(); ++i) {
    if (index.is_marked(i)) found.push_back(i);
  }
  return found;
}

// With n filled bins the estimate is a mean of n draws: its standard deviation is sqrt(J (1 - J) / n), and five of
// those are never left by chance (the bins are drawn without replacement, which makes it smaller).
TEST(NearDuplicates, EstimatesTheJaccardSimilarity) {
  for (const size_t step : {20, 50, 100, 200, 1000}) {
    for (uint64_t seed = 0; seed < 5; ++seed) {
      const std::string a = noise(seed, 20'000);
      const std::string b = edited(a, step);
      const double exact = jaccard(a, b);
      EXPECT_NEAR(estimated_similarity(signature_of(a), signature_of(b)), exact,
                  5 * std::sqrt(exact * (1 - exact) / 128))
          << step;
    }
  }
  EXPECT_EQ(estimated_similarity(signature_of("same"), signature_of("same")), 1.0);
  EXPECT_EQ(estimated_similarity(signature_of("one"), signature_of("two")), 0.0);
}

TEST(NearDuplicates, CopiesAndSmallEditsAreFound) {
  std::vector<std::string> texts;
  for (uint64_t seed = 0; seed < 50; ++seed) texts.push_back(noise(seed, 200 + 40 * seed));
  for (uint32_t i = 0; i < 50; ++i) {
    const std::string& text = texts[i];
    EXPECT_EQ(found_in(texts, text), std::vector<uint32_t>{i});
    EXPECT_EQ(found_in(texts, edited(text, 400)), std::vector<uint32_t>{i}) << jaccard(text, edited(text, 400));
    EXPECT_EQ(found_in(texts, "A new beginning." + text.substr(5)), std::vector<uint32_t>{i});
  }
}

TEST(NearDuplicates, OtherDocumentsAreNot) {
  std::vector<std::string> texts;
  for (uint64_t seed = 0; seed < 50; ++seed) texts.push_back(noise(seed, 2000));
  for (uint64_t seed = 100; seed < 150; ++seed) EXPECT_TRUE(found_in(texts, noise(seed, 2000)).empty());
  // half of a document in common: similarity 1/3
  for (const std::string& text : texts) EXPECT_TRUE(found_in(texts, text.substr(0, 1000) + noise(7, 1000)).empty());
}

TEST(NearDuplicates, ShortDocuments) {
  EXPECT_EQ(found_in({"Yes.", "No.", "12345678", "x"}, "No."), std::vector<uint32_t>{1});
  EXPECT_EQ(found_in({"Yes.", "No.", "12345678", "x"}, "x"), std::vector<uint32_t>{3});
  EXPECT_EQ(found_in({"Yes.", "No.", "12345678", "x"}, "12345678"), std::vector<uint32_t>{2});
  EXPECT_TRUE(found_in({"Yes.", "No."}, "Yes!").empty());
  EXPECT_TRUE(found_in({}, "Yes!").empty());
  const std::string thirty = "thirty bytes are not very many";
  EXPECT_EQ(found_in({thirty}, thirty), std::vector<uint32_t>{0});
  EXPECT_EQ(found_in({thirty}, thirty + "."), std::vector<uint32_t>{0});
}

TEST(NearDuplicates, ManyAlikeAreAllFound) {
  const std::string text = noise(3, 1000);
  EXPECT_EQ(found_in({text, text, edited(text, 500), noise(4, 1000), text}, text), (std::vector<uint32_t>{0, 1, 2, 4}));
}

// A chain in which neighbours resemble each other and the ends do not.
TEST(NearDuplicates, MarksSpreadToWhatIsConnected) {
  const std::string text = noise(5, 4000);
  std::vector<Signature> chain;
  for (size_t i = 0; i <= 40; ++i) chain.push_back(signature_of(text.substr(i * 50, 2000)));
  chain.push_back(signature_of(noise(6, 2000)));
  ASSERT_LT(estimated_similarity(chain[0], chain[40]), 0.2);
  NearDuplicateIndex index(chain);
  index.mark_similar(chain[40]);
  EXPECT_FALSE(index.is_marked(0));
  index.mark_connected();
  for (size_t i = 0; i <= 40; ++i) EXPECT_TRUE(index.is_marked(i)) << i;
  EXPECT_FALSE(index.is_marked(41));
}

// Tens of thousands of copies, each of which meets all others: quadratic work would take minutes.
TEST(NearDuplicates, ManyCopiesCostLittle) {
  const Signature one = signature_of(noise(8, 1000));
  NearDuplicateIndex index(std::vector<Signature>(20'000, one));
  for (int i = 0; i < 20'000; ++i) index.mark_similar(one);
  index.mark_connected();
  for (size_t i = 0; i < 20'000; ++i) ASSERT_TRUE(index.is_marked(i));
}

}  // namespace
}  // namespace centavo
