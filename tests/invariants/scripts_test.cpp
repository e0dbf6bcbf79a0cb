// The scripts in the checkout's root, run in a directory of their own.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <string>
#include <vector>

#include "base/files.h"
#include "tests/support/models.h"
#include "tests/support/paths.h"
#include "tests/support/process.h"

namespace centavo::testing {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

Outcome bash(const std::string& directory, const std::string& script) {
  return run({"-c", "cd -- \"$1\" && " + script, "bash", directory}, {.program = "/bin/bash"});
}

// A checkout whose program is built already: ./check --build has nothing to do there.
std::string built_checkout() {
  const std::string root = fresh_directory("checkout");
  fs::copy_file(source_path("quickstart"), root + "/quickstart");
  write_file_atomic(root + "/check", "#!/bin/sh\n");
  fs::permissions(root + "/check", fs::perms::owner_all);
  fs::create_directories(root + "/build");
  fs::create_symlink(program_path(), root + "/build/centavo");
  fs::create_directories(root + "/configs/runs");
  write_file_atomic(
      root + "/configs/runs/quickstart.toml",
      "device = \"cpu\"\nseq_len = 16\nmicro_batch = 2\nmax_steps = 2\nlearning_rate = 1e-3\nthreads = 1\n[model]\n"
      "vocab_size = 256\nhidden_size = 16\nintermediate_size = 32\nnum_hidden_layers = 1\n"
      "num_attention_heads = 2\n");
  for (const char* name : {"one \"text\".txt", "another.txt"}) {
    write_file_atomic(root + "/" + name, std::string(3000, name[0]) + "<|endoftext|>" + std::string(3000, 'x'));
  }
  return root;
}

void refused(const std::string& root, const std::string& arguments, const std::string& why) {
  const Outcome outcome = bash(root, "./quickstart " + arguments);
  EXPECT_EQ(outcome.code, 1) << arguments;
  EXPECT_THAT(outcome.err, StartsWith("quickstart: "));
  EXPECT_THAT(outcome.err, HasSubstr(why));
}

TEST(Quickstart, ArgumentsWithoutAValue) {
  const std::string root = built_checkout();
  for (const char* text : {"--text=", "--text", "--text ''"}) refused(root, text, "--text takes a path");
  for (const char* out : {"--out=", "--out", "--out ''"}) refused(root, out, "--out takes a directory");
  refused(root, "--text=none.txt", "there is no none.txt");
}

// A run goes on with its own text, named from wherever; another one is not passed over.
TEST(Quickstart, ARunOfAnotherTextIsNotContinued) {
  const std::string root = built_checkout();
  const std::string mine = "./quickstart --out=runs/mine ";
  const Outcome first = bash(root, mine + "--text 'one \"text\".txt'");
  ASSERT_EQ(first.code, 0) << first.err;
  refused(root, "--out runs/mine --text another.txt", "runs/mine holds a run of another text than");
  for (const char* same : {"--text='one \"text\".txt'", "--text \"$PWD\"/'one \"text\".txt'", ""}) {
    const Outcome again = bash(root, mine + same);
    EXPECT_EQ(again.code, 0) << again.err;
    EXPECT_THAT(again.out, HasSubstr("continuing the run in runs/mine"));
  }
}

// A library has no command of its name: Debian is asked, whatever the package is called.
TEST(Check, InstalledPackagesAreNotInstalledAgain) {
  const std::string root = fresh_directory("check-packages");
  fs::copy_file(source_path("check"), root + "/check");
  const std::string say = "source ./check && command() { true; } && dpkg-query() { printf '%s' ";
  const std::string ask = "; } && missing_of \"${build_packages[@]}\"";
  EXPECT_EQ(bash(root, say + "installed" + ask).out, "");
  EXPECT_THAT(bash(root, say + "config-files" + ask).out, HasSubstr("zlib1g-dev\n"));
}

// The functions of ./check, without its main.
TEST(Check, AGreenStampHoldsForTheProgramThatWasTested) {
  const std::string root = fresh_directory("check");
  fs::copy_file(source_path("check"), root + "/check");
  fs::create_directories(root + "/build");
  const auto sourced = [&](const std::string& script) { return bash(root, "source ./check && " + script); };
  const std::string write_program = "printf one > build/centavo && chmod +x build/centavo && ";
  ASSERT_EQ(sourced(write_program + "remember_green abc '7 tests passed'").code, 0);
  EXPECT_THAT(sourced("print_if_green abc").out, HasSubstr("7 tests passed"));
  EXPECT_EQ(sourced("print_if_green abd").code, 1);
  EXPECT_EQ(sourced("printf two > build/centavo && print_if_green abc").code, 1);
  EXPECT_EQ(sourced(write_program + "print_if_green abc").code, 0);
  write_file_atomic(root + "/build/green-full", "abc\n7 tests passed\n");  // as an older ./check left it
  EXPECT_EQ(sourced("print_if_green abc").code, 1);
}

}  // namespace
}  // namespace centavo::testing
