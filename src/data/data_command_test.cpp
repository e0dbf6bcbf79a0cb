// `centavo data`, from outside.

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>

#include "base/errors.h"
#include "base/files.h"
#include "tests/support/generated_corpus.h"
#include "tests/support/sanitized.h"

namespace centavo::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::AllOf;
using ::testing::HasSubstr;

constexpr int64_t kTextBytes = testing::kSanitized ? 10'000'000 : 100'000'000;
constexpr int64_t kMemoryFactor = testing::kSanitized ? 8 : 1;  // shadow memory, quarantine, red zones

class DataCommand : public ::testing::Test {
 protected:
  void SetUp() override {
    root_ = ::testing::TempDir() + fmt::format("data command test.{}", ::getpid());
    fs::create_directories(root_);
  }
  void TearDown() override { fs::remove_all(root_); }
  ProgramResult build(const std::vector<std::string>& more, int64_t interrupt_after_ms = 0) const {
    std::vector<std::string> arguments = {"data", "build", root_ + "/text", "--out", root_ + "/data", "--threads", "2"};
    arguments.insert(arguments.end(), more.begin(), more.end());
    return run_centavo(arguments, interrupt_after_ms);
  }

  std::string root_;
};

// Two threads hold two times eight batches of half a MiB, their ids, and what is counted; beside it stands what the
// program takes to start, which with CUDA's libraries is more.
TEST_F(DataCommand, MemoryDoesNotGrowWithTheText) {
  write_generated_corpus(root_ + "/text", kTextBytes, 5);
  const ProgramResult built = build({"--vocab-size", "4096"});
  ASSERT_EQ(built.exit_code, 0) << built.out;
  const int64_t start = run_centavo({"--help"}).peak_bytes;
  EXPECT_LT(built.peak_bytes - start, kMemoryFactor * (int64_t{88} << 20));
  EXPECT_THAT(built.out, AllOf(HasSubstr("5 files, vocabulary 4,096, data hash "), HasSubstr("training "),
                               HasSubstr("validation ")));
  EXPECT_THAT(build({"--vocab-size", "4096"}).out, HasSubstr("was made from the same files and settings already"));
  EXPECT_THAT(run_centavo({"data", "show", root_ + "/data"}).out, HasSubstr("[document]<|endoftext|>"));
  EXPECT_THAT(run_centavo({"data", "verify", root_ + "/data"}).out, HasSubstr("every block of "));
}

TEST_F(DataCommand, AnInterruptLeavesNothing) {
  write_generated_corpus(root_ + "/text", kTextBytes, 2);
  const ProgramResult stopped = build({"--vocab-size", "4096"}, 150);
  EXPECT_EQ(stopped.signal, SIGINT) << stopped.exit_code << stopped.out;
  EXPECT_EQ(std::distance(fs::directory_iterator(root_), {}), 1);
}

TEST_F(DataCommand, ShowsBordersAndControlCharactersOnOneLine) {
  write_file_atomic(root_ + "/text", "one\n\x1b[2J<|endoftext|>two \xC3\xA9");
  ASSERT_EQ(build({"--vocab-size", "256", "--validation", "0"}).exit_code, 0);
  EXPECT_THAT(run_centavo({"data", "show", root_ + "/data"}).out,
              HasSubstr("token 0: [document]one\\n\\x1b[2J[document]two \xC3\xA9\n"));
}

TEST_F(DataCommand, DamageIsReported) {
  write_file_atomic(root_ + "/text", "one<|endoftext|>two");
  ASSERT_EQ(build({"--vocab-size", "256"}).exit_code, 0);
  const std::string shard = root_ + "/data/train-00000.tokens";
  std::string bytes = read_file(shard);
  bytes[66] = static_cast<char>(bytes[66] ^ 1);
  write_file_atomic(shard, bytes);
  const ProgramResult result = run_centavo({"data", "verify", root_ + "/data"});
  EXPECT_EQ(result.exit_code, 2);
  EXPECT_THAT(result.out, HasSubstr(shard + " is damaged: block 0, from byte 64 on: it does not match its hash"));
}

TEST_F(DataCommand, HelpAndMistakes) {
  for (const char* command : {"build", "show", "verify"}) {
    const ProgramResult help = run_centavo({"data", command, "--help"});
    EXPECT_EQ(help.exit_code, 0);
    EXPECT_THAT(help.out, HasSubstr(command));
  }
  write_file_atomic(root_ + "/text", "one<|endoftext|>two");
  EXPECT_EQ(run_centavo({"data"}).exit_code, 2);
  EXPECT_THAT(build({}).out, HasSubstr("no tokenizer is asked for; add --vocab-size N"));
  EXPECT_EQ(build({"--vocab-size", "256", "--tokenizer", "x"}).exit_code, 2);
  EXPECT_EQ(build({"--vocab-size", "many"}).exit_code, 2);
  const ProgramResult none = run_centavo({"data", "show", root_});
  EXPECT_EQ(none.exit_code, 2);
  EXPECT_THAT(none.out, HasSubstr("is not a data directory"));
  fs::create_directory_symlink("/proc/self", root_ + "/nowhere");
  EXPECT_EQ(
      run_centavo({"data", "build", root_ + "/text", "--out", root_ + "/nowhere/x", "--vocab-size", "256"}).exit_code,
      4);
}

}  // namespace
}  // namespace centavo::testing
