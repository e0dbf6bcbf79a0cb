#include "base/files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <thread>
#include <type_traits>
#include <vector>

#include "base/errors.h"

namespace centavo::testing {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;

template <class Error, class F>
std::string message_of(const F& f) {
  try {
    f();
  } catch (const Error& error) {
    return error.what();
  }
  return "nothing of that type was thrown";
}

// Every test has a directory of its own.
class Files : public ::testing::Test {
 protected:
  void SetUp() override {
    directory_ = ::testing::TempDir() + "centavo files XXXXXX";
    ASSERT_NE(::mkdtemp(directory_.data()), nullptr);
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  std::string path(const std::string& name) const { return directory_ + "/" + name; }
  std::vector<std::string> names() const {
    std::vector<std::string> found;
    for (const auto& entry : std::filesystem::directory_iterator(directory_)) found.push_back(entry.path().filename());
    return found;
  }

 private:
  std::string directory_;
};

// Every byte value, over several of read's and write's pages.
std::string all_bytes(size_t count) {
  std::string bytes(count, '\0');
  for (size_t i = 0; i < count; ++i) bytes[i] = static_cast<char>((i * 131 + i / 256) & 0xff);
  return bytes;
}

TEST_F(Files, ReadsWhatWasWritten) {
  for (const size_t count : {0u, 1u, 4095u, 4096u, 4097u, 1000003u}) {
    write_file_atomic(path("f"), all_bytes(count));
    EXPECT_EQ(read_file(path("f")), all_bytes(count)) << count;
    EXPECT_EQ(names(), std::vector<std::string>{"f"});
  }
}

TEST_F(Files, ReadsFilesThatStateNoSize) { EXPECT_THAT(read_file("/proc/self/status"), HasSubstr("Pid:")); }

TEST_F(Files, ReplacesALinkAndLeavesItsTarget) {
  write_file_atomic(path("target"), "old");
  std::filesystem::create_symlink(path("target"), path("link"));
  write_file_atomic(path("link"), "new");
  EXPECT_EQ(read_file(path("target")), "old");
  EXPECT_EQ(read_file(path("link")), "new");
  EXPECT_FALSE(std::filesystem::is_symlink(path("link")));
}

TEST_F(Files, AReaderSeesOldOrNewNeverAMixture) {
  const std::string a(200000, 'a');
  const std::string b(100000, 'b');
  write_file_atomic(path("f"), a);
  std::thread writer([&] {
    for (int i = 0; i < 40; ++i) write_file_atomic(path("f"), i % 2 == 0 ? b : a);
  });
  for (int i = 0; i < 200; ++i) {
    const std::string seen = read_file(path("f"));
    EXPECT_TRUE(seen == a || seen == b) << seen.size();
  }
  writer.join();
}

TEST_F(Files, ReadingNamesThePathAndTheMend) {
  const auto missing = [&] { read_file(path("none")); };
  EXPECT_THAT(message_of<UserError>(missing),
              AllOf(HasSubstr(path("none")), HasSubstr("No such file"), HasSubstr("check the path")));
  const auto directory = [&] { read_file(path("")); };
  EXPECT_THAT(message_of<UserError>(directory), HasSubstr("is a directory"));
  ASSERT_EQ(::mkfifo(path("pipe").c_str(), 0600), 0);
  const auto pipe = [&] { read_file(path("pipe")); };
  EXPECT_THAT(message_of<UserError>(pipe), HasSubstr("not a regular file"));
  std::filesystem::create_symlink(path("loop"), path("loop"));
  EXPECT_THROW(read_file(path("loop")), UserError);
  EXPECT_THROW(MappedFile{path("none")}, UserError);
  EXPECT_THROW(MappedFile{path("pipe")}, UserError);
}

TEST_F(Files, ReadingWithoutPermission) {
  write_file_atomic(path("secret"), "x");
  std::filesystem::permissions(path("secret"), std::filesystem::perms::none);
  const bool is_root = ::geteuid() == 0;
  if (is_root && ::seteuid(65534) != 0) GTEST_SKIP() << "root cannot step down here";
  const std::string message = message_of<UserError>([&] { read_file(path("secret")); });
  if (is_root) {
    ASSERT_EQ(::seteuid(0), 0);
  }
  EXPECT_THAT(message, HasSubstr("permission to read"));
}

TEST_F(Files, AFailedRenameLeavesNoTemporary) {
  make_directories(path("taken/inside"));
  const auto write = [&] { write_file_atomic(path("taken"), "x"); };
  EXPECT_THAT(message_of<IoError>(write), AllOf(HasSubstr("rename"), HasSubstr(path("taken")), HasSubstr("directory")));
  EXPECT_EQ(names(), std::vector<std::string>{"taken"});
}

// The kernel cuts the write at the limit, then refuses: the partial file must go and the old one stay.
TEST_F(Files, AFailedWriteLeavesTheOldFileAndNoTemporary) {
  write_file_atomic(path("f"), "old");
  rlimit before = {};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const rlimit small = {.rlim_cur = 1000, .rlim_max = before.rlim_max};
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  const std::string message = message_of<IoError>([&] { write_file_atomic(path("f"), all_bytes(5000)); });
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  std::signal(SIGXFSZ, handler);
  EXPECT_THAT(message, AllOf(HasSubstr("write"), HasSubstr("File too large")));
  EXPECT_EQ(read_file(path("f")), "old");
  EXPECT_EQ(names(), std::vector<std::string>{"f"});
}

TEST_F(Files, WritingIntoAMissingDirectory) {
  const auto write = [&] { write_file_atomic(path("no/f"), "x"); };
  EXPECT_THAT(message_of<IoError>(write), AllOf(HasSubstr("open"), HasSubstr(path("no/f")), HasSubstr("No such file")));
}

TEST_F(Files, MakesDirectories) {
  make_directories(path("a/b/c"));
  make_directories(path("a/b/c"));
  EXPECT_TRUE(std::filesystem::is_directory(path("a/b/c")));
  write_file_atomic(path("file"), "x");
  EXPECT_THAT(message_of<IoError>([&] { make_directories(path("file/below")); }), HasSubstr(path("file/below")));
  EXPECT_THROW(make_directories(""), IoError);
}

TEST_F(Files, MapsAndMoves) {
  static_assert(!std::is_copy_constructible_v<MappedFile> && !std::is_copy_assignable_v<MappedFile>);
  write_file_atomic(path("f"), all_bytes(10001));
  write_file_atomic(path("empty"), "");
  MappedFile a(path("f"));
  const char* address = a.view().data();
  MappedFile b(std::move(a));
  EXPECT_EQ(b.view(), all_bytes(10001));
  EXPECT_EQ(b.view().data(), address);
  MappedFile c(path("empty"));
  EXPECT_TRUE(c.view().empty());
  c = std::move(b);
  EXPECT_EQ(c.view(), all_bytes(10001));
}

TEST_F(Files, AMappingOutlivesTheNameOfItsFile) {
  write_file_atomic(path("f"), "old contents");
  const MappedFile mapped(path("f"));
  write_file_atomic(path("f"), "new");
  EXPECT_EQ(mapped.view(), "old contents");
}

TEST_F(Files, AppendsBehindWhatIsThere) {
  write_file_atomic(path("log"), "one\n");
  AppendFile log(path("log"));
  log.append("two\n");
  AppendFile moved = std::move(log);
  moved.append("");
  moved.append("three\n");
  EXPECT_EQ(read_file(path("log")), "one\ntwo\nthree\n");
}

TEST_F(Files, AppendingNeedsAFile) {
  EXPECT_THAT(message_of<IoError>([&] { AppendFile(path("none")); }), HasSubstr(path("none")));
}

}  // namespace
}  // namespace centavo::testing
