#include "base/directory_lock.h"

#include <gtest/gtest.h>

#include <optional>

#include "base/errors.h"
#include "base/files.h"

namespace centavo {
namespace {

TEST(DirectoryLock, OneHolderAtATime) {
  const std::string directory = ::testing::TempDir() + "centavo lock";
  make_directories(directory);
  std::optional<DirectoryLock> first(std::in_place, directory);
  EXPECT_THROW(DirectoryLock second(directory), UserError);
  first.reset();
  const DirectoryLock third(directory);
}

TEST(DirectoryLock, NeedsTheDirectory) { EXPECT_THROW(DirectoryLock("/nonexistent directory"), IoError); }

}  // namespace
}  // namespace centavo
