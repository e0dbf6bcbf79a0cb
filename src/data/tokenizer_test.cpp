#include "data/tokenizer.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "base/rng.h"
#include "data/pretokenize.h"

namespace centavo {
namespace {

using Ids = std::vector<int32_t>;

Ids encoded(Encoder& encoder, std::string_view text) {
  Ids ids;
  encoder.encode(text, ids);
  return ids;
}

Ids encoded(const Tokenizer& tokenizer, std::string_view text) {
  Encoder encoder(tokenizer);
  return encoded(encoder, text);
}

uint32_t draw(uint64_t stream, uint64_t index, uint32_t below) { return philox(stream, index, 0)[0] % below; }

std::string random_text(uint64_t seed, size_t size, std::string_view alphabet) {
  std::string text;
  for (size_t i = 0; i < size; ++i) text += alphabet[draw(seed, i, static_cast<uint32_t>(alphabet.size()))];
  return text;
}

// Random merges over the letters a, b, c: many overlap and compete.
Tokenizer random_tokenizer(uint64_t seed, size_t merge_count) {
  std::vector<Tokenizer::Merge> merges;
  Ids known = {'a', 'b', 'c'};
  std::map<int32_t, std::string> bytes = {{'a', "a"}, {'b', "b"}, {'c', "c"}};
  std::set<std::string> taken = {"a", "b", "c"};
  for (uint64_t i = 0; merges.size() < merge_count; ++i) {
    const int32_t left = known[draw(seed, 2 * i, static_cast<uint32_t>(known.size()))];
    const int32_t right = known[draw(seed, 2 * i + 1, static_cast<uint32_t>(known.size()))];
    const std::string joined = bytes[left] + bytes[right];
    if (joined.size() > 12 || !taken.insert(joined).second) continue;
    const auto id = static_cast<int32_t>(256 + merges.size());
    merges.emplace_back(left, right);
    bytes[id] = joined;
    known.push_back(id);
  }
  return Tokenizer(merges, EndOfText::last_id);
}

// The definition, word by word.
Ids slow_ids(const Tokenizer& tokenizer, std::string_view text) {
  std::map<Tokenizer::Merge, size_t> numbers;
  for (size_t i = 0; i < tokenizer.merges().size(); ++i) numbers[tokenizer.merges()[i]] = i;
  Ids all;
  for_each_piece(text, [&](std::string_view piece) {
    Ids ids;
    for (const char byte : piece) ids.push_back(static_cast<uint8_t>(byte));
    while (true) {
      size_t best = SIZE_MAX;
      size_t where = 0;
      for (size_t i = 0; i + 1 < ids.size(); ++i) {
        const auto found = numbers.find({ids[i], ids[i + 1]});
        if (found == numbers.end() || found->second >= best) continue;
        best = found->second;
        where = i;
      }
      if (best == SIZE_MAX) break;
      ids[where] = static_cast<int32_t>(256 + best);
      ids.erase(ids.begin() + static_cast<ptrdiff_t>(where) + 1);
    }
    all.insert(all.end(), ids.begin(), ids.end());
  });
  return all;
}

TEST(Tokenizer, KnowsTheBytesOfItsTokens) {
  const Tokenizer tokenizer({{'a', 'b'}, {256, 'c'}}, EndOfText::last_id);
  EXPECT_EQ(tokenizer.vocab_size(), 259);
  EXPECT_EQ(tokenizer.bytes_of(0xff), "\xff");
  EXPECT_EQ(tokenizer.bytes_of(257), "abc");
  EXPECT_EQ(tokenizer.bytes_of(258), kEndOfText);
  EXPECT_EQ(tokenizer.end_of_text(), 258);
  EXPECT_EQ(Tokenizer().vocab_size(), 256);
  EXPECT_EQ(Tokenizer().end_of_text(), std::nullopt);
}

TEST(TokenizerDeathTest, RefusesMergesThatMakeNoVocabulary) {
  EXPECT_DEATH(Tokenizer({{'a', 256}}), "merge of 97 and 256");
  EXPECT_DEATH(Tokenizer({{'a', -1}}), "merge of 97 and -1");
  EXPECT_DEATH(Tokenizer({{'a', 'b'}, {'b', 'c'}, {'a', 257}, {256, 'c'}}), "two tokens of 3 bytes");
  EXPECT_DEATH(Tokenizer().decode(Ids{256}), "id 256 of 256");
}

TEST(Encoder, JoinsTheLowestMergeFirst) {
  const Tokenizer tokenizer({{'b', 'c'}, {'a', 'b'}, {256, 'd'}, {' ', 'a'}});
  EXPECT_EQ(encoded(tokenizer, "abcd"), (Ids{'a', 258}));  // bc, then bcd: ab has lost its b
  EXPECT_EQ(encoded(tokenizer, "abd"), (Ids{257, 'd'}));
  EXPECT_EQ(encoded(tokenizer, "x ab"), (Ids{'x', ' ', 257}));
  EXPECT_EQ(encoded(tokenizer, "x ac"), (Ids{'x', 259, 'c'}));
  EXPECT_EQ(encoded(tokenizer, ""), Ids{});
}

TEST(Encoder, JoinsTheLeftmostOfEquals) {
  const Tokenizer tokenizer({{'a', 'a'}, {256, 256}});
  EXPECT_EQ(encoded(tokenizer, "aaa"), (Ids{256, 'a'}));
  EXPECT_EQ(encoded(tokenizer, "aaaaaaa"), (Ids{257, 256, 'a'}));
}

TEST(Encoder, MergesStayInsidePieces) {
  const Tokenizer tokenizer({{'a', ' '}, {'a', '1'}, {' ', ' '}});
  EXPECT_EQ(encoded(tokenizer, "a a1"), (Ids{'a', ' ', 'a', '1'}));
  EXPECT_EQ(encoded(tokenizer, "a  a"), (Ids{'a', ' ', ' ', 'a'}));
  EXPECT_EQ(encoded(tokenizer, "a   a"), (Ids{'a', 258, ' ', 'a'}));
}

TEST(Encoder, TheLiteralEndOfTextIsItsToken) {
  const Tokenizer tokenizer({{'a', 'b'}, {'|', '>'}}, EndOfText::last_id);
  EXPECT_EQ(encoded(tokenizer, "<|endoftext|>"), (Ids{258}));
  EXPECT_EQ(encoded(tokenizer, "ab<|endoftext|><|endoftext|> ab"), (Ids{256, 258, 258, ' ', 256}));
  EXPECT_EQ(encoded(tokenizer, "|<|endoftext|>|>"), (Ids{'|', 258, 257}));
  EXPECT_EQ(encoded(tokenizer, "<|end"), (Ids{'<', '|', 'e', 'n', 'd'}));
  // Spaces before it end a text: they stay one piece.
  const Tokenizer spaces({{' ', ' '}}, EndOfText::last_id);
  EXPECT_EQ(encoded(spaces, "  <|endoftext|>  a"), (Ids{256, 257, ' ', ' ', 'a'}));
  EXPECT_EQ(encoded(Tokenizer(), "<|endoftext|>").size(), kEndOfText.size());
  EXPECT_EQ(encoded(Tokenizer({}, EndOfText::last_id), "a<|endoftext|>b"), (Ids{'a', 256, 'b'}));
}

TEST(Encoder, AppendsAndForgetsNothing) {
  const Tokenizer tokenizer({{'a', 'b'}});
  Encoder encoder(tokenizer);
  Ids ids = {7};
  encoder.encode("ab", ids);
  encoder.encode("abx", ids);
  Encoder moved = std::move(encoder);
  moved.encode("ab", ids);
  EXPECT_EQ(ids, (Ids{7, 256, 256, 'x', 256}));
}

TEST(Encoder, AgreesWithTheDefinition) {
  for (uint64_t seed = 0; seed < 20; ++seed) {
    const Tokenizer tokenizer = random_tokenizer(seed, 1 + 10 * seed);
    Encoder encoder(tokenizer);
    for (const size_t size : {1, 2, 7, 8, 9, 15, 16, 17, 31, 64, 100, 254, 255, 256, 257, 300, 700}) {
      for (const std::string_view alphabet : {"abc", "aaab", "abcabcabc ", "ab' \n1"}) {
        const std::string text = random_text(100 + seed + size, size, alphabet);
        const Ids expected = slow_ids(tokenizer, text);
        EXPECT_EQ(encoded(encoder, text), expected) << text;
        EXPECT_EQ(encoded(encoder, text), expected) << "from memory: " << text;
      }
    }
  }
}

TEST(Encoder, RandomBytesComeBack) {
  const Tokenizer tokenizer = random_tokenizer(3, 100);
  Encoder encoder(tokenizer);
  for (uint64_t round = 0; round < 200; ++round) {
    std::string text;
    for (uint64_t i = 0; i < 5 * round; ++i) text += static_cast<char>(draw(1000 + round, i, 256));
    EXPECT_EQ(tokenizer.decode(encoded(encoder, text)), text);
    EXPECT_EQ(tokenizer.decode(encoded(encoder, text)), text);
  }
}

// More pieces than the memory holds, so that entries give way and all are forgotten at times.
TEST(Encoder, MemoryOfPiecesIsBoundedAndExact) {
  const Tokenizer tokenizer = random_tokenizer(4, 30);
  Encoder encoder(tokenizer);
  for (uint64_t block = 0; block < 100; ++block) {
    std::string text;
    for (uint64_t word = 0; word < 1500; ++word) {
      const uint64_t seed = block * 10000 + word;
      text += " " + random_text(seed, 1 + draw(seed, 999, 40), "abcxyz");
    }
    EXPECT_EQ(encoded(encoder, text), encoded(tokenizer, text)) << block;
  }
}

// Quadratic time would take minutes.
TEST(Encoder, ALongPieceTakesNoLonger) {
  std::vector<Tokenizer::Merge> merges = {{'a', 'a'}};
  for (int32_t id = 256; id < 270; ++id) merges.emplace_back(id, id);
  const Tokenizer tokenizer(merges);
  const std::string text(1 << 20, 'a');
  const Ids ids = encoded(tokenizer, text);
  EXPECT_EQ(ids.size(), (1 << 20) / (1 << 15));
  EXPECT_EQ(tokenizer.decode(ids), text);
  const std::string mixed = random_text(1, 1 << 20, "abc");
  EXPECT_EQ(tokenizer.decode(encoded(tokenizer, mixed)), mixed);
}

}  // namespace
}  // namespace centavo
