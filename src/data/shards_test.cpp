#include "data/shards.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>
#include <xxhash.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <numeric>

#include "base/errors.h"
#include "data/token_stream.h"

namespace centavo {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using Tokens = std::vector<int32_t>;

class Shards : public ::testing::Test {
 protected:
  void SetUp() override {
    root_ = ::testing::TempDir() + fmt::format("shards test.{}", ::getpid());
    fs::create_directories(root_);
  }
  void TearDown() override { fs::remove_all(root_); }

  std::vector<ShardRecord> write(const std::vector<Tokens>& documents, int64_t vocab_size,
                                 ShardLimits limits = {}) const {
    ShardWriter writer(root_, "train", vocab_size, limits);
    for (const Tokens& document : documents) writer.add(document);
    return writer.finish();
  }
  TokenStream open(const std::vector<ShardRecord>& records) const {
    std::vector<ShardReader> shards;
    for (const ShardRecord& record : records) {
      shards.emplace_back(root_ + "/" + record.name);
      EXPECT_EQ(shards.back().tokens(), record.tokens);
      EXPECT_EQ(shards.back().documents(), record.documents);
      EXPECT_EQ(shards.back().digest(), record.digest);
    }
    return TokenStream(std::move(shards));
  }
  std::string first() const { return root_ + "/train-00000.tokens"; }
  static void overwrite(const std::string& path, const std::string& bytes) {
    std::ofstream(path, std::ios::binary | std::ios::trunc) << bytes;
  }
  // What opening and reading everything says.
  std::string complaint() const {
    try {
      const ShardReader shard(first());
      Tokens all(static_cast<size_t>(shard.tokens()));
      shard.read(0, all);
      std::vector<int64_t> starts;
      shard.document_starts(0, shard.tokens(), 0, starts);
      return "nothing";
    } catch (const UserError& error) {
      return error.what();
    }
  }

  std::string root_;
};

Tokens range(int32_t begin, int32_t end) {
  Tokens tokens(static_cast<size_t>(end - begin));
  std::iota(tokens.begin(), tokens.end(), begin);
  return tokens;
}

Tokens all_of(const TokenStream& stream) {
  Tokens tokens(static_cast<size_t>(stream.size()));
  stream.read(0, tokens);
  return tokens;
}

std::vector<int64_t> starts_of(const TokenStream& stream, int64_t begin, int64_t end) {
  std::vector<int64_t> starts = {-1};
  stream.document_starts(begin, end, starts);
  return starts;
}

TEST_F(Shards, LayoutByHand) {
  const std::vector<ShardRecord> records = write({{5, 6, 7}, {8}}, 300);
  ASSERT_EQ(records.size(), 1u);
  const std::string bytes = read_file(first());
  ASSERT_EQ(bytes.size(), 64u + 8 + 16 + 8);
  EXPECT_EQ(
      bytes.substr(0, 48),
      std::string("CENTAVO\n\1\0\0\0\2\0\0\0\4\0\0\0\0\0\0\0\2\0\0\0\0\0\0\0\x2c\1\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 48));
  EXPECT_EQ(bytes.substr(64, 24), std::string("\5\0\6\0\7\0\10\0\0\0\0\0\0\0\0\0\3\0\0\0\0\0\0\0", 24));
  const uint64_t hash = XXH3_64bits(bytes.data() + 64, 24);
  EXPECT_EQ(bytes.substr(88), std::string(reinterpret_cast<const char*>(&hash), 8));
  EXPECT_EQ(all_of(open(records)), (Tokens{5, 6, 7, 8}));
}

TEST_F(Shards, WidthFollowsTheVocabulary) {
  for (const int64_t vocab_size : {65'536, 65'537}) {
    const int32_t last = static_cast<int32_t>(vocab_size - 1);
    const TokenStream stream = open(write({{0, last, 1}}, vocab_size));
    EXPECT_EQ(all_of(stream), (Tokens{0, last, 1}));
    EXPECT_EQ(fs::file_size(first()), 64u + (vocab_size == 65'536 ? 8 : 16) + 8 + 8);
  }
}

TEST_F(Shards, SplitsAtDocumentsAndReadsAcross) {
  std::vector<Tokens> documents;
  for (int32_t i = 0; i < 100; ++i) documents.push_back(range(i * 10, i * 10 + 10));
  const std::vector<ShardRecord> records = write(documents, 1000, {.tokens_bytes = 100});
  ASSERT_EQ(records.size(), 20u);
  EXPECT_EQ(records[3].name, "train-00003.tokens");
  const TokenStream stream = open(records);
  EXPECT_EQ(stream.size(), 1000);
  EXPECT_EQ(stream.documents(), 100);
  EXPECT_EQ(all_of(stream), range(0, 1000));
  for (int32_t start = 0; start < 1000; start += 37) {
    for (const int32_t count : {0, 1, 49, 50, 51, 250}) {
      Tokens some(static_cast<size_t>(std::min(count, 1000 - start)));
      stream.read(start, some);
      EXPECT_EQ(some, range(start, start + static_cast<int32_t>(some.size())));
    }
  }
  EXPECT_EQ(starts_of(stream, 95, 121), (std::vector<int64_t>{100, 110, 120}));
  EXPECT_EQ(starts_of(stream, 50, 51), (std::vector<int64_t>{50}));
  EXPECT_EQ(starts_of(stream, 51, 60), (std::vector<int64_t>{}));
  EXPECT_EQ(starts_of(stream, 0, 1000).size(), 100u);
  EXPECT_EQ(write(documents, 1000, {.documents = 30}).size(), 4u);
}

TEST_F(Shards, ManyBlocks) {
  std::vector<Tokens> documents;
  for (int32_t i = 0; i < 300'000; ++i) documents.push_back({i % 777, (i * 31) % 777, i % 5});
  const TokenStream stream = open(write(documents, 777));
  ASSERT_EQ(stream.size(), 900'000);
  Tokens three(3);
  for (int64_t i = 0; i < 300'000; i += 991) {
    stream.read(3 * i, three);
    ASSERT_EQ(three, documents[static_cast<size_t>(i)]);
    ASSERT_EQ(starts_of(stream, 3 * i, 3 * i + 4), (std::vector<int64_t>{3 * i, 3 * i + 3}));
  }
}

TEST_F(Shards, AnEmptySplitHasNoShards) {
  EXPECT_TRUE(write({}, 300).empty());
  EXPECT_EQ(open({}).size(), 0);
}

TEST_F(Shards, EveryDamagedByteIsFound) {
  write({{5, 6, 7}, {8, 9}}, 300);
  const std::string good = read_file(first());
  EXPECT_EQ(complaint(), "nothing");
  for (size_t i = 0; i < good.size(); ++i) {
    for (const int flip : {1, 128}) {
      std::string bad = good;
      bad[i] = static_cast<char>(bad[i] ^ flip);
      overwrite(first(), bad);
      EXPECT_THAT(complaint(), HasSubstr(first() + " is damaged: ")) << i;
      EXPECT_THAT(complaint(), HasSubstr("remove its directory and make it again"));
    }
  }
}

TEST_F(Shards, EveryTruncationIsFound) {
  write({{5, 6, 7}, {8, 9}}, 300);
  const std::string good = read_file(first());
  for (size_t size = 0; size < good.size(); ++size) {
    overwrite(first(), good.substr(0, size));
    EXPECT_THAT(complaint(), HasSubstr(fmt::format("it has {} bytes", size)));
  }
  overwrite(first(), good + "x");
  EXPECT_THAT(complaint(), HasSubstr(fmt::format("it has {} bytes instead of {}", good.size() + 1, good.size())));
}

// Damage in a block that is not read is not noticed, in one that is read it is.
TEST_F(Shards, BlocksAreCheckedWhenTouched) {
  write({Tokens(2'000'000, 7)}, 300);
  std::string bytes = read_file(first());
  bytes[64 + 2'500'000] = 8;
  overwrite(first(), bytes);
  const ShardReader shard(first());
  Tokens one(1);
  shard.read(0, one);
  shard.read(1'999'999, one);
  EXPECT_THROW(shard.read(1'200'000, one), UserError);
  EXPECT_THROW(shard.verify(), UserError);
  EXPECT_THAT(complaint(),
              HasSubstr(fmt::format("block 2, from byte {} on: it does not match its hash", 64 + (2 << 20))));
}

// The hashes vouch for the bytes; what they say must make sense all the same.
TEST_F(Shards, ContentThatLiesIsFound) {
  const auto rewrite = [&](size_t at, char value) {
    std::string bytes = read_file(first());
    bytes[at] = value;
    const uint64_t header = XXH3_64bits(bytes.data(), 56);
    bytes.replace(56, 8, reinterpret_cast<const char*>(&header), 8);
    const uint64_t block = XXH3_64bits(bytes.data() + 64, bytes.size() - 72);
    bytes.replace(bytes.size() - 8, 8, reinterpret_cast<const char*>(&block), 8);
    overwrite(first(), bytes);
  };
  const std::vector<std::pair<std::pair<size_t, char>, std::string>> lies = {
      {{65, 2}, "token 0 is 517 of a vocabulary of 300"},
      {{80, 0}, "document 1 starts at token 0, out of order"},
      {{80, 5}, "document 1 starts at token 5, out of order"},
      {{72 + 7, -1}, "document 0 starts at token -"},
      {{8, 2}, "has version 2, this centavo reads 1"},
      {{12, 4}, "its header contradicts itself"},
      {{24, 0}, "its header contradicts itself"},
      {{16, 1}, "its header contradicts itself"},
      {{22, 1}, "its header contradicts itself"},
      {{38, 1}, "its header contradicts itself"}};
  for (const auto& [change, why] : lies) {
    write({{5, 6, 7}, {8}}, 300);
    rewrite(change.first, change.second);
    EXPECT_THAT(complaint(), HasSubstr(why)) << change.first;
  }
}

TEST_F(Shards, AFullDiskLeavesNothing) {
  rlimit before = {};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  rlimit small = before;
  small.rlim_cur = 1 << 20;
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  EXPECT_THROW(write({Tokens(2'000'000, 7)}, 300), IoError);
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  std::signal(SIGXFSZ, handler);
  EXPECT_TRUE(fs::is_empty(root_));
}

}  // namespace
}  // namespace centavo
