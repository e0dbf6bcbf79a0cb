#include "train/out_traces.h"

#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <filesystem>

#include "base/files.h"
#include "tests/support/models.h"
#include "train/rank_status.h"

namespace centavo::testing {
namespace {

namespace fs = std::filesystem;

constexpr std::array<int64_t, 2> kRanks = {0, 1};

void make_pages(const std::string& out) {
  for (const int64_t rank : kRanks) RankStatus(out, {.rank = rank, .ranks = 2, .host = "a", .launch = ""});
}

TEST(OutTraces, ARunThatNeverBeganLeavesNothing) {
  const std::string place = fresh_directory("traces");
  const OutTraces traces(place + "/runs/mine");
  make_pages(place + "/runs/mine");
  traces.take_back(kRanks);
  EXPECT_TRUE(fs::is_empty(place));
}

TEST(OutTraces, WhatWasThereStays) {
  const std::string out = fresh_directory("traces-before");
  make_directories(out + "/ranks");
  write_file_atomic(rank_status_path(out, 0), "an earlier run's");
  write_file_atomic(out + "/config.toml", "an earlier run's");
  const OutTraces traces(out);
  make_pages(out);
  traces.take_back(kRanks);
  EXPECT_TRUE(fs::exists(rank_status_path(out, 0)));
  EXPECT_FALSE(fs::exists(rank_status_path(out, 1)));
  EXPECT_TRUE(fs::exists(out + "/config.toml"));
}

TEST(OutTraces, AnEmptyDirectoryOfTheUserStays) {
  const std::string out = fresh_directory("traces-empty");
  const OutTraces traces(out);
  make_pages(out);
  traces.take_back(kRanks);
  EXPECT_TRUE(fs::is_empty(out));
}

TEST(OutTraces, DataAndStrangersPagesStay) {
  const std::string out = fresh_directory("traces-data") + "/out";
  const OutTraces traces(out);
  make_pages(out);
  make_directories(out + "/data");
  traces.take_back(std::span(kRanks).first(1));
  EXPECT_TRUE(fs::exists(out + "/data"));
  EXPECT_FALSE(fs::exists(rank_status_path(out, 0)));
  EXPECT_TRUE(fs::exists(rank_status_path(out, 1)));
}

TEST(OutTraces, ARunThatHasBegunKeepsItsRecord) {
  for (const bool earlier : {false, true}) {
    const std::string out = fresh_directory(earlier ? "traces-again" : "traces-begun") + "/out";
    if (earlier) {
      make_directories(out);
      write_file_atomic(out + "/config.toml", "of before");
      fs::last_write_time(out + "/config.toml", fs::file_time_type::clock::now() - std::chrono::hours(1));
    }
    const OutTraces traces(out);
    make_pages(out);
    write_file_atomic(out + "/config.toml", "of this one");
    traces.take_back(kRanks);
    EXPECT_TRUE(fs::exists(rank_status_path(out, 1)));
  }
}

}  // namespace
}  // namespace centavo::testing
