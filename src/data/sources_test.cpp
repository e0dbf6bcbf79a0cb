#include "data/sources.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

#include "base/errors.h"
#include "base/files.h"

namespace centavo {
namespace {

namespace fs = std::filesystem;

class Sources : public ::testing::Test {
 protected:
  void SetUp() override {
    root_ = ::testing::TempDir() + fmt::format("sources test.{}", ::getpid());
    fs::create_directories(root_);
  }
  void TearDown() override { fs::remove_all(root_); }

  std::string write(const std::string& name) const {
    fs::create_directories(parent_directory(root_ + "/" + name));
    write_file_atomic(root_ + "/" + name, name);
    return root_ + "/" + name;
  }
  // The paths below root_.
  std::vector<std::string> found(const std::vector<std::string>& paths) const {
    std::vector<std::string> names;
    for (const Source& source : find_sources(paths)) names.push_back(source.path.substr(root_.size() + 1));
    return names;
  }
  static void expect_error(const std::vector<std::string>& paths, const std::string& why) {
    try {
      find_sources(paths);
      ADD_FAILURE() << "accepted, expected: " << why;
    } catch (const UserError& error) {
      EXPECT_NE(std::string(error.what()).find(why), std::string::npos) << error.what();
    }
  }

  std::string root_;
};

using Names = std::vector<std::string>;

TEST_F(Sources, NamesTellTheKind) {
  const auto kind = [&](const std::string& name) { return find_sources({write(name)}).at(0); };
  EXPECT_EQ(kind("a.txt"), (Source{root_ + "/a.txt", TextFormat::plain, Compression::none, 5}));
  EXPECT_EQ(kind("a.jsonl"), (Source{root_ + "/a.jsonl", TextFormat::jsonl, Compression::none, 7}));
  EXPECT_EQ(kind("a.jsonl.gz"), (Source{root_ + "/a.jsonl.gz", TextFormat::jsonl, Compression::gzip, 10}));
  EXPECT_EQ(kind("a b.zst"), (Source{root_ + "/a b.zst", TextFormat::plain, Compression::zstd, 7}));
  EXPECT_EQ(kind("jsonl"), (Source{root_ + "/jsonl", TextFormat::plain, Compression::none, 5}));
}

TEST_F(Sources, DirectoriesAreSortedAndHiddenNamesSkipped) {
  for (const char* name : {"d/b", "d/a/z", "d/c c.txt", "d/.hidden", "d/.git/x", "e"}) write(name);
  EXPECT_EQ(found({root_ + "/e", root_ + "/d"}), (Names{"e", "d/a/z", "d/b", "d/c c.txt"}));
  EXPECT_EQ(found({root_ + "/d/.hidden"}), (Names{"d/.hidden"}));
}

TEST_F(Sources, LinksAreFollowedOnce) {
  write("d/a");
  write("elsewhere/x");
  fs::create_directory_symlink(root_ + "/d", root_ + "/d/loop");
  fs::create_directory_symlink(root_ + "/elsewhere", root_ + "/d/link");
  fs::create_symlink(root_ + "/d/a", root_ + "/d/same");
  EXPECT_EQ(found({root_ + "/d", root_ + "/d", root_ + "/d/a", root_ + "/elsewhere"}), (Names{"d/a", "d/link/x"}));
}

TEST_F(Sources, WhatCannotBeReadIsNamed) {
  expect_error({root_ + "/absent"}, root_ + "/absent: No such file or directory");
  expect_error({root_}, "there is no file to read in " + root_);
  expect_error({}, "there is no file");
  fs::create_symlink(root_ + "/self", root_ + "/self");
  expect_error({root_}, root_ + "/self: Too many levels of symbolic links");
  fs::remove(root_ + "/self");
  fs::create_symlink(root_ + "/absent", root_ + "/dangling");
  expect_error({root_}, root_ + "/dangling: No such file or directory");
  fs::remove(root_ + "/dangling");
  ASSERT_EQ(::mkfifo((root_ + "/pipe").c_str(), 0600), 0);
  expect_error({root_}, root_ + "/pipe: it is neither a file nor a directory");
}

// As root everything can be read, so root becomes nobody for a moment.
TEST_F(Sources, PermissionsAreChecked) {
  constexpr uid_t kNobody = 65534;
  fs::permissions(write("secret"), fs::perms::none);
  const uid_t user = ::geteuid();
  ASSERT_EQ(::seteuid(user == 0 ? kNobody : user), 0);
  expect_error({root_ + "/secret"}, root_ + "/secret: Permission denied");
  ASSERT_EQ(::seteuid(user), 0);
}

}  // namespace
}  // namespace centavo
