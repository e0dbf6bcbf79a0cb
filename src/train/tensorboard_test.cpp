#include "train/tensorboard.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>

namespace centavo {
namespace {

namespace fs = std::filesystem;

std::string hex(const std::string& bytes) {
  std::string text;
  for (const char c : bytes) text += fmt::format("{:02x}", static_cast<unsigned char>(c));
  return text;
}

// The expected bytes are protobuf's own serialisation of tensorboard.compat.proto.event_pb2.Event, framed with
// tensorboard's masked_crc32c.
TEST(EventBytes, AreProtobufs) {
  EXPECT_EQ(hex(file_version_event(1.5)),
            "1800000000000000a37f4b2209000000000000f83f1a0d627261696e2e4576656e743a322a28646c");
  EXPECT_EQ(hex(session_start_event(1.5, 101)), "0f000000000000006d532b0909000000000000f83f10653a02080101d02fc8");
  EXPECT_EQ(hex(scalars_event(1.5, 300, {{"train/loss", 2.5}, {"train/lr", 1e-3}})),
            "3200000000000000241956ec09000000000000f83f10ac022a240a110a0a747261696e2f6c6f737315000020400a0f0a087472"
            "61696e2f6c72156f12833ad1a09ff7");
  EXPECT_EQ(hex(text_event(1.5, 3, "sample", "hi")),
            "2f000000000000006d5d1d5009000000000000f83f10032a220a200a0673616d706c65420c0807120412020801420268694a08"
            "0a060a04746578744b7de628");
}

TEST(EventBytes, TextIsMadeUtf8) { EXPECT_EQ(text_event(1, 1, "s", "a\xff"), text_event(1, 1, "s", "a\xef\xbf\xbd")); }

uint64_t length_at(const std::string& bytes, size_t at) {
  uint64_t length = 0;
  std::memcpy(&length, bytes.data() + at, sizeof length);
  return length;
}

// The records of a file; fails on a length that does not fit.
std::vector<std::string> records_in(const std::string& path) {
  const std::string bytes = read_file(path);
  std::vector<std::string> records;
  for (size_t at = 0; at < bytes.size();) {
    const uint64_t length = length_at(bytes, at);
    EXPECT_LE(at + 16 + length, bytes.size());
    if (at + 16 + length > bytes.size()) break;
    records.push_back(bytes.substr(at + 12, length));
    at += 16 + length;
  }
  return records;
}

TEST(EventLogFile, EachStartWritesItsOwn) {
  const std::string dir = ::testing::TempDir() + fmt::format("event_log_test.{}", ::getpid());
  fs::create_directories(dir);
  EventLog first(dir, 0);
  EventLog second(dir, 4);
  EXPECT_NE(first.path(), second.path());
  EXPECT_TRUE(first.path().starts_with(dir + "/events.out.tfevents."));
  first.step({.step = 1, .tokens = 0, .loss = 2, .mfu = {}, .cost = {}});
  first.validation({.step = 1, .loss = 2, .bits_per_byte = 1});
  first.sample({1, "b\nc", "a"});
  const std::vector<std::string> records = records_in(first.path());
  ASSERT_EQ(records.size(), 5u);
  EXPECT_NE(records[0].find("brain.Event:2"), std::string::npos);
  for (const char* tag : {"train/loss", "train/lr", "train/grad_norm", "train/tokens_per_second"}) {
    EXPECT_NE(records[2].find(tag), std::string::npos) << tag;
  }
  for (const char* tag : {"validation/loss", "validation/bits_per_byte"}) {
    EXPECT_NE(records[3].find(tag), std::string::npos) << tag;
  }
  EXPECT_NE(records[4].find("    ab\n    c"), std::string::npos);
  EXPECT_EQ(records_in(second.path()).size(), 2u);
  fs::remove_all(dir);
}

}  // namespace
}  // namespace centavo
