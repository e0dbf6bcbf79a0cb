// A data directory from 20 GB of text, or from as many GB as CENTAVO_CORPUS_GB says, under CENTAVO_CORPUS_DIR or the
// directory for temporary files. Needs about half as much space.

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "base/errors.h"
#include "data/corpus.h"
#include "tests/support/generated_corpus.h"

namespace centavo {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kGigabyte = 1'000'000'000;
constexpr int64_t kBound = int64_t{1} << 30;

std::string setting(const char* name, const std::string& otherwise) {
  const char* value = std::getenv(name);
  return value == nullptr ? otherwise : value;
}

class HugeCorpus : public ::testing::Test {
 protected:
  void SetUp() override {
    const std::string parent = setting("CENTAVO_CORPUS_DIR", fs::temp_directory_path());
    root_ = fmt::format("{}/centavo_huge_corpus.{}", parent, ::getpid());
    fs::create_directories(root_);
  }
  void TearDown() override { fs::remove_all(root_); }
  std::string root_;
};

TEST_F(HugeCorpus, IsMadeInOneGibibyte) {
  const int64_t bytes = std::stoll(setting("CENTAVO_CORPUS_GB", "20")) * kGigabyte;
  testing::write_generated_corpus(root_ + "/text", bytes, 40);
  const testing::ProgramResult result =
      testing::run_centavo({"data", "build", root_ + "/text", "--out", root_ + "/data", "--vocab-size", "32768"});
  ASSERT_EQ(result.exit_code, 0) << result.out;
  EXPECT_LT(result.peak_bytes, kBound);
  RecordProperty("peak_mib", static_cast<int>(result.peak_bytes >> 20));
  fmt::print("peak resident memory {} MiB\n{}", result.peak_bytes >> 20, result.out);
  const Corpus corpus = open_corpus(root_ + "/data");
  const int64_t text = corpus.manifest.train.text_bytes + corpus.manifest.validation.text_bytes;
  EXPECT_GT(text, bytes / 10 * 9);  // the rest is the JSON around it
  EXPECT_EQ(testing::run_centavo({"data", "verify", root_ + "/data"}).exit_code, 0);
}

}  // namespace
}  // namespace centavo
