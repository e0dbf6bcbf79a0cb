#include "base/files.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <filesystem>

#include "base/errors.h"

namespace centavo {
namespace {

namespace fs = std::filesystem;

class Durable : public ::testing::Test {
 protected:
  void SetUp() override {
    root_ = ::testing::TempDir() + fmt::format("durable_test.{}", ::getpid());
    fs::create_directories(root_);
  }
  void TearDown() override { fs::remove_all(root_); }

  int64_t entries() const { return std::distance(fs::directory_iterator(root_), {}); }
  void make(const std::string& name) {
    fs::create_directory(root_ + "/" + name);
    write_file_atomic(root_ + "/" + name + "/name", name);
  }

  std::string root_;
};

TEST_F(Durable, PartsAreJoined) {
  const std::array<ByteSource, 4> parts = {std::string_view("ab"), std::string_view(), std::string_view("\0c", 2),
                                           std::string_view("d")};
  write_parts_atomic(root_ + "/f", parts);
  EXPECT_EQ(read_file(root_ + "/f"), std::string("ab\0cd", 5));
  write_parts_atomic(root_ + "/f", {});
  EXPECT_EQ(read_file(root_ + "/f"), "");
  EXPECT_EQ(entries(), 1);
}

TEST_F(Durable, AFailedRenameLeavesNothing) {
  make("taken");
  const std::array<ByteSource, 1> parts = {std::string_view("x")};
  EXPECT_THROW(write_parts_atomic(root_ + "/taken", parts), IoError);
  EXPECT_THROW(write_parts_atomic(root_ + "/absent/f", parts), IoError);
  EXPECT_EQ(entries(), 1);
}

TEST_F(Durable, InstallsAndExchangesDirectories) {
  make("new");
  install_directory(root_ + "/new", root_ + "/place");
  EXPECT_EQ(read_file(root_ + "/place/name"), "new");
  EXPECT_EQ(entries(), 1);
  make("newer");
  install_directory(root_ + "/newer", root_ + "/place");
  EXPECT_EQ(read_file(root_ + "/place/name"), "newer");
  EXPECT_EQ(read_file(root_ + "/newer/name"), "new");
  EXPECT_EQ(entries(), 2);
}

TEST_F(Durable, FailuresNameTheCallAndThePath) {
  EXPECT_THROW(sync_directory(root_ + "/absent"), IoError);
  EXPECT_THROW(install_directory(root_ + "/absent", root_ + "/place"), IoError);
}

TEST(ParentDirectory, OfBareAndNestedNames) {
  EXPECT_EQ(parent_directory("f"), ".");
  EXPECT_EQ(parent_directory("a/f"), "a");
  EXPECT_EQ(parent_directory("/f"), "/");
}

}  // namespace
}  // namespace centavo
