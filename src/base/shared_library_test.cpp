#include "base/shared_library.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "tests/support/paths.h"

namespace centavo {
namespace {

using ::testing::HasSubstr;

// Versions of the libraries of tests/fake_libraries/.
constexpr int64_t kOld = 91000;
constexpr int64_t kNew = 91900;

LibraryWish at_least(int64_t version) {
  return {"the library", "cudnnGetVersion", [version](int64_t found, const auto&) {
            return found >= version ? std::string() : fmt::format("version {} is old", found);
          }};
}

std::string fake(const char* which) { return centavo::testing::fake_library(which); }

TEST(SharedLibrary, TheFirstThatWillDoIsTaken) {
  const OpenLibrary library = open_library(at_least(kNew), {"/nowhere/lib.so", fake("old"), fake("new")});
  EXPECT_EQ(library.path, fake("new"));
  EXPECT_EQ(library.version, kNew);
  EXPECT_EQ(library.refusal, "");
  const auto version = reinterpret_cast<size_t (*)()>(library.find("cudnnGetVersion"));
  EXPECT_EQ(version(), kNew);
  EXPECT_EQ(library.find("cudnnGetNothing"), nullptr);
  EXPECT_EQ(open_library(at_least(kOld), {fake("old"), fake("new")}).version, kOld);
}

TEST(SharedLibrary, WhatWillNotDoIsNamed) {
  const std::string bare_name = "libcentavo_has_none.so.9";
  for (const auto& candidates : {std::vector{fake("old"), bare_name}, std::vector{bare_name, fake("old")}}) {
    const OpenLibrary library = open_library(at_least(kNew), candidates);
    EXPECT_EQ(library.handle, nullptr);
    EXPECT_EQ(library.refusal, "version 91000 is old (" + fake("old") + ")");
  }
}

TEST(SharedLibrary, AMissingLibraryIsNamed) {
  const OpenLibrary library = open_library(at_least(kNew), {"/nowhere/lib.so", "libcentavo_has_none.so.9"});
  EXPECT_EQ(library.handle, nullptr);
  EXPECT_THAT(library.refusal, HasSubstr("the library cannot be opened: libcentavo_has_none.so.9: "));
}

TEST(SharedLibrary, AFileThatIsNoLibraryIsNamed) {
  const std::string file = ::testing::TempDir() + "shared_library_test.so";
  std::ofstream(file) << "no library";
  EXPECT_THAT(open_library(at_least(kNew), {file}).refusal, HasSubstr(file));
  EXPECT_EQ(open_library(at_least(kNew), {file, fake("new")}).version, kNew);
}

TEST(SharedLibrary, BesideTheProgramComesFirstAndWhatIsAddedLast) {
  const std::vector<std::string> candidates = library_candidates("libx.so.9", {"/more"});
  ASSERT_GE(candidates.size(), 4U);
  EXPECT_THAT(candidates[0], HasSubstr("/libx.so.9"));
  EXPECT_EQ(candidates[1], candidates[0].substr(0, candidates[0].rfind('/')) + "/lib/libx.so.9");
  EXPECT_EQ(candidates[candidates.size() - 2], "libx.so.9");
  EXPECT_EQ(candidates.back(), "/more/libx.so.9");
}

}  // namespace
}  // namespace centavo
