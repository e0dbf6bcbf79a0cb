#include "data/bpe_trainer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <set>

#include "base/errors.h"
#include "base/rng.h"

namespace centavo {
namespace {

using ::testing::HasSubstr;
using Merges = std::vector<Tokenizer::Merge>;
using Pieces = std::vector<std::pair<std::string_view, int64_t>>;

constexpr int64_t kPlenty = 1000;

PieceCounts counts_of(std::string_view text) {
  PieceCounts counts(kPlenty);
  counts.add(text);
  return counts;
}

std::string random_text(uint64_t seed, size_t size) {
  constexpr std::string_view alphabet = "aaabbc d";
  std::string text;
  for (size_t i = 0; i < size; ++i) text += alphabet[philox(seed, i, 0)[0] % alphabet.size()];
  return text;
}

// Counts every pair anew for every merge.
Merges slow_merges(const PieceCounts& counts) {
  std::vector<std::pair<std::vector<int32_t>, int64_t>> words;
  for (const auto& [piece, count] : counts.sorted()) words.push_back({{piece.begin(), piece.end()}, count});
  std::vector<std::string> tokens;
  for (int byte = 0; byte < 256; ++byte) tokens.emplace_back(1, static_cast<char>(byte));
  std::set<std::string> known;
  Merges merges;
  while (true) {
    std::map<Tokenizer::Merge, int64_t> pairs;
    for (const auto& [ids, count] : words) {
      for (size_t i = 0; i + 1 < ids.size(); ++i) pairs[{ids[i], ids[i + 1]}] += count;
    }
    const auto bytes_of = [&](const Tokenizer::Merge& pair) {
      return tokens[static_cast<size_t>(pair.first)] + tokens[static_cast<size_t>(pair.second)];
    };
    std::erase_if(pairs, [&](const auto& pair) { return known.contains(bytes_of(pair.first)); });
    if (pairs.empty()) return merges;
    const auto best =
        std::max_element(pairs.begin(), pairs.end(), [](const auto& a, const auto& b) { return a.second < b.second; });
    const Tokenizer::Merge pair = best->first;
    known.insert(bytes_of(pair));
    tokens.push_back(bytes_of(pair));
    merges.push_back(pair);
    for (auto& [ids, count] : words) {
      std::vector<int32_t> joined;
      for (size_t i = 0; i < ids.size(); ++i) {
        const bool here = i + 1 < ids.size() && ids[i] == pair.first && ids[i + 1] == pair.second;
        joined.push_back(here ? static_cast<int32_t>(tokens.size()) - 1 : ids[i]);
        if (here) ++i;
      }
      ids = joined;
    }
  }
}

TEST(PieceCounts, CountsPiecesInTheOrderOfTheirBytes) {
  EXPECT_EQ(counts_of("to be or not to be").sorted(),
            (Pieces{{" be", 2}, {" not", 1}, {" or", 1}, {" to", 1}, {"to", 1}}));
  EXPECT_EQ(counts_of("a<|endoftext|>a<|endoftext|>").sorted(), (Pieces{{"a", 2}}));
  EXPECT_EQ(counts_of("").distinct(), 0);
}

TEST(PieceCounts, MergesCounts) {
  PieceCounts counts = counts_of("a b");
  counts.merge(counts_of("c b b"));
  EXPECT_EQ(counts.sorted(), (Pieces{{" b", 3}, {"a", 1}, {"c", 1}}));
}

TEST(PieceCounts, ForgetsTheRareBeyondItsBound) {
  PieceCounts counts(4);
  counts.add("a a a a b b b c c d");
  EXPECT_EQ(counts.sorted(), (Pieces{{" a", 3}, {" b", 3}}));  // " d" was one too many
}

TEST(PieceCounts, CutsLongPiecesBetweenCharacters) {
  const PieceCounts letters = counts_of(std::string(600, 'a'));
  EXPECT_EQ(letters.sorted(), (Pieces{{std::string(88, 'a'), 1}, {std::string(256, 'a'), 2}}));
  std::string text = "x";
  for (int i = 0; i < 100; ++i) text += "\u6c34";
  const PieceCounts counts = counts_of(text);
  ASSERT_EQ(counts.distinct(), 2);
  EXPECT_EQ(counts.sorted()[0].first.size(), 256);
  EXPECT_EQ(counts_of(std::string(600, '\x80')).distinct(), 2);
}

TEST(TrainBpe, JoinsTheMostFrequentPairThenTheSmallerIds) {
  // "aab" five times, "bc" twice: (a, a) and (a, b) are equal at 5, then (aa, b), then (b, c).
  const Tokenizer tokenizer = train_bpe(counts_of("aab\naab\naab\naab\naab\nbc\nbc\n"), 260);
  EXPECT_EQ(tokenizer.merges(), (Merges{{'a', 'a'}, {256, 'b'}, {'b', 'c'}}));
  EXPECT_EQ(tokenizer.end_of_text(), 259);
}

TEST(TrainBpe, PassesOverAPairWhoseBytesAreATokenAlready) {
  const PieceCounts counts = counts_of("abc abc abc abc ab abbc\nbc\nbc\nbc\nbc\nbc\nbc\nabbc abbc abbc");
  const Tokenizer tokenizer = train_bpe(counts, 257 + static_cast<int64_t>(slow_merges(counts).size()));
  EXPECT_EQ(tokenizer.merges(), slow_merges(counts));  // the constructor checks that no two tokens are the same
}

TEST(TrainBpe, AgreesWithCountingAnew) {
  for (uint64_t seed = 0; seed < 30; ++seed) {
    const PieceCounts counts = counts_of(random_text(seed, 20 + 30 * seed));
    const Merges expected = slow_merges(counts);
    const auto size = static_cast<int64_t>(257 + expected.size());
    EXPECT_EQ(train_bpe(counts, size).merges(), expected) << seed;
  }
}

TEST(TrainBpe, TheOrderOfTheTextDoesNotMatter) {
  PieceCounts forward(kPlenty);
  PieceCounts backward(kPlenty);
  for (uint64_t i = 0; i < 20; ++i) {
    forward.add(random_text(i, 200));
    backward.add(random_text(19 - i, 200));
  }
  EXPECT_EQ(train_bpe(forward, 300).json(), train_bpe(backward, 300).json());
}

TEST(TrainBpe, SmallSizes) {
  EXPECT_EQ(train_bpe(counts_of("abab"), 256).json(), Tokenizer().json());
  EXPECT_EQ(train_bpe(counts_of(""), 257).json(), Tokenizer({}, EndOfText::last_id).json());
}

TEST(TrainBpe, NamesTheLargestSizeATextAllows) {
  const auto message = [](std::string_view text, int64_t size) -> std::string {
    try {
      train_bpe(counts_of(text), size);
    } catch (const UserError& error) {
      return error.what();
    }
    return "nothing";
  };
  EXPECT_THAT(message("abab ab", 1000),
              HasSubstr("vocabulary of 1000; the largest it allows is 260"));  // ab, abab, " ab"
  EXPECT_EQ(train_bpe(counts_of("abab ab"), 260).vocab_size(), 260);
  EXPECT_THAT(message("", 258), HasSubstr("the largest it allows is 257"));
  EXPECT_THAT(message("ab", 255), HasSubstr("the vocabulary size is 255; give one from 256"));
  EXPECT_THAT(message("ab", -1), HasSubstr("the vocabulary size is -1"));
  EXPECT_THAT(message("ab", kLargestVocabulary + 1), HasSubstr("to 2097152"));
}

TEST(TrainBpe, ReportsEveryMerge) {
  std::vector<int64_t> reports;
  train_bpe(counts_of("abcd"), 260, [&](int64_t merges) { reports.push_back(merges); });
  EXPECT_EQ(reports, (std::vector<int64_t>{1, 2, 3}));
}

}  // namespace
}  // namespace centavo
