// What does not compute on a GPU starts without NVIDIA's libraries: they are large and take long to open.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>

#include "tests/support/process.h"

namespace centavo::testing {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

// The names of the files that the loader opens, as it tells them itself.
std::string opened_by(const std::vector<std::string>& args) {
  ::setenv("LD_DEBUG", "files", 1);
  const Outcome outcome = run(args);
  ::unsetenv("LD_DEBUG");
  EXPECT_THAT(outcome.err, HasSubstr("libc.so")) << "the loader tells nothing";
  return outcome.err;
}

void expect_no_gpu_library(const std::vector<std::string>& args) {
  const std::string opened = opened_by(args);
  for (const char* name : {"libcublas", "libcudnn", "libnvrtc", "libcuda.so", "libcudart", "libnvidia"}) {
    EXPECT_THAT(opened, Not(HasSubstr(name)));
  }
}

TEST(Start, OpensNoLibraryOfTheGpu) {
  expect_no_gpu_library({"--help"});
  expect_no_gpu_library({"data", "build", "/nowhere/text.txt", "--out", "/nowhere/data"});
  expect_no_gpu_library({"program", source_path("configs/runs/tiny.toml"), "device=cpu"});
}

}  // namespace
}  // namespace centavo::testing
