#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <array>
#include <csignal>
#include <filesystem>
#include <optional>

#include "base/errors.h"
#include "base/files.h"

namespace centavo {
namespace {

namespace fs = std::filesystem;

class FileStream : public ::testing::Test {
 protected:
  void SetUp() override {
    root_ = ::testing::TempDir() + fmt::format("file stream test.{}", ::getpid());
    fs::create_directories(root_);
  }
  void TearDown() override { fs::remove_all(root_); }
  int64_t entries() const { return std::distance(fs::directory_iterator(root_), {}); }

  std::string root_;
};

TEST_F(FileStream, ReadsInPieces) {
  write_file_atomic(root_ + "/f", "abcdefg");
  FileReader reader(root_ + "/f");
  std::array<char, 3> piece;
  std::string all;
  while (const size_t got = reader.read(piece)) all.append(piece.data(), got);
  EXPECT_EQ(all, "abcdefg");
  EXPECT_THROW(FileReader{root_}, UserError);
  EXPECT_THROW(FileReader(root_ + "/absent"), UserError);
}

TEST_F(FileStream, WriterAppearsAtCommitOnly) {
  FileWriter writer(root_ + "/f");
  writer.append("0000");
  writer.append("tail");
  writer.overwrite(1, "12");
  writer.append("!");
  EXPECT_FALSE(fs::exists(root_ + "/f"));
  writer.commit();
  EXPECT_EQ(read_file(root_ + "/f"), "0120tail!");
  EXPECT_EQ(entries(), 1);
}

TEST_F(FileStream, AnAbandonedWriterLeavesNothing) {
  { FileWriter(root_ + "/f").append("x"); }
  EXPECT_EQ(entries(), 0);
  EXPECT_THROW(FileWriter(root_ + "/absent/f"), IoError);
}

TEST_F(FileStream, AFullDiskIsAnIoErrorAndLeavesNothing) {
  rlimit before = {};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  rlimit small = before;
  small.rlim_cur = 4096;
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  EXPECT_THROW(FileWriter(root_ + "/f").append(std::string(8192, 'x')), IoError);
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  std::signal(SIGXFSZ, handler);
  EXPECT_EQ(entries(), 0);
}

TEST_F(FileStream, ScratchIsInstalledWholeOrGone) {
  { write_file_atomic(ScratchDirectory(root_ + "/d").path() + "/f", "half"); }
  EXPECT_EQ(entries(), 0);
  for (const std::string content : {"one", "two"}) {
    ScratchDirectory scratch(root_ + "/d");
    write_file_atomic(scratch.path() + "/" + content, content);
    scratch.install();
    EXPECT_EQ(read_file(root_ + "/d/" + content), content);
    EXPECT_EQ(entries(), 1);
  }
  EXPECT_FALSE(fs::exists(root_ + "/d/one"));
}

TEST_F(FileStream, ScratchTakesOverWhatACrashLeft) {
  fs::create_directories(root_ + "/d.tmp/sub");
  write_file_atomic(root_ + "/d.tmp/sub/old", "old");
  ScratchDirectory scratch(root_ + "/d");
  EXPECT_TRUE(fs::is_empty(scratch.path()));
}

TEST_F(FileStream, OneScratchATarget) {
  std::optional<ScratchDirectory> first(root_ + "/d");
  EXPECT_THROW(ScratchDirectory(root_ + "/d"), UserError);
  first.reset();
  EXPECT_NO_THROW(ScratchDirectory(root_ + "/d"));
}

}  // namespace
}  // namespace centavo
