#include "train/record_facts.h"

#include <gtest/gtest.h>

#include <filesystem>

namespace centavo {
namespace {

TEST(RecordFacts, ARunIsCalledAsItsDirectory) {
  for (const char* path : {"runs/x", "runs/x/", "runs//x//", "/a/x/.", "runs/y/../x/"}) EXPECT_EQ(run_name(path), "x");
  const std::string here = std::filesystem::current_path().filename().string();
  for (const char* path : {".", "./", "x/.."}) EXPECT_EQ(run_name(path), here) << path;
}

}  // namespace
}  // namespace centavo
