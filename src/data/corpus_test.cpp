#include "data/corpus.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>

#include "base/errors.h"
#include "base/files.h"
#include "base/rng.h"

namespace centavo {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using Texts = std::vector<std::string>;

// Sentences of words that come back, so that there is something to merge.
std::string story(uint64_t seed, size_t words) {
  const RandomStream random = random_stream(seed, 1, 0, 0);
  std::string text;
  for (size_t i = 0; i < words; ++i) {
    const uint32_t word = random.bits(i) % 2000;
    text += fmt::format("{}{}{}", static_cast<char>('a' + word % 26), word * 7919 % 1000, i % 9 == 8 ? ".\n" : " ");
  }
  return text;
}

Texts stories(uint64_t count) {
  Texts texts;
  for (uint64_t i = 0; i < count; ++i) texts.push_back(story(i, 20 + 7 * (i % 30)));
  return texts;
}

std::string json_lines(const Texts& texts) {
  std::string lines;
  for (const std::string& text : texts) {
    lines += "{\"text\": \"";
    for (const char c : text) lines += c == '\n' ? std::string("\\n") : std::string(1, c);
    lines += "\"}\n";
  }
  return lines;
}

// The documents of a split as text, without the token that begins them.
Texts documents_of(const Corpus& corpus, const TokenStream& stream) {
  std::vector<int64_t> borders;
  stream.document_starts(0, stream.size(), borders);
  borders.push_back(stream.size());
  Texts texts;
  for (size_t i = 0; i + 1 < borders.size(); ++i) {
    std::vector<int32_t> ids(static_cast<size_t>(borders[i + 1] - borders[i]));
    stream.read(borders[i], ids);
    if (const auto first = corpus.tokenizer.end_of_text()) {
      EXPECT_EQ(ids[0], *first);
      ids.erase(ids.begin());
    }
    texts.push_back(corpus.tokenizer.decode(ids));
  }
  return texts;
}

class CorpusBuild : public ::testing::Test {
 protected:
  void SetUp() override {
    root_ = ::testing::TempDir() + fmt::format("corpus test.{}", ::getpid());
    fs::create_directories(root_);
    options_ = {.paths = {root_ + "/text"},
                .directory = root_ + "/data",
                .vocab_size = 400,
                .tokenizer = {},
                .validation_fraction = 0.1,
                .seed = 3,
                .threads = 2};
  }
  void TearDown() override { fs::remove_all(root_); }

  std::string write(const std::string& name, const std::string& bytes) const {
    fs::create_directories(root_ + "/text");
    write_file_atomic(root_ + "/text/" + name, bytes);
    return root_ + "/text/" + name;
  }
  Corpus build() const {
    EXPECT_EQ(build_corpus(options_), CorpusOutcome::made);
    EXPECT_FALSE(fs::exists(options_.directory + ".tmp"));
    return open_corpus(options_.directory);
  }
  void expect_error(const std::string& why) const {
    try {
      build_corpus(options_);
      ADD_FAILURE() << "accepted, expected: " << why;
    } catch (const UserError& error) {
      EXPECT_THAT(error.what(), HasSubstr(why));
    }
    EXPECT_FALSE(fs::exists(options_.directory + ".tmp"));
  }
  std::map<std::string, std::string> files() const {
    std::map<std::string, std::string> contents;
    for (const auto& entry : fs::directory_iterator(options_.directory)) {
      contents[entry.path().filename()] = read_file(entry.path());
    }
    return contents;
  }

  std::string root_;
  CorpusOptions options_;
};

TEST_F(CorpusBuild, HoldsEveryDocumentInOrder) {
  const Texts texts = stories(400);
  write("a.jsonl", json_lines({texts.begin(), texts.begin() + 250}));
  write("b.jsonl", json_lines({texts.begin() + 250, texts.end()}));
  const Corpus corpus = build();
  const Texts train = documents_of(corpus, corpus.train);
  const Texts validation = documents_of(corpus, corpus.validation);
  EXPECT_EQ(corpus.tokenizer.vocab_size(), 400);
  EXPECT_EQ(corpus.manifest.near_duplicates, 0);
  const std::set<std::string> held_out(validation.begin(), validation.end());
  Texts in_train;
  Texts in_validation;
  for (const std::string& text : texts) (held_out.contains(text) ? in_validation : in_train).push_back(text);
  EXPECT_EQ(train, in_train);
  EXPECT_EQ(validation, in_validation);
  // 400 draws with probability 0.1: mean 40, standard deviation 6
  EXPECT_NEAR(static_cast<double>(validation.size()), 40, 30);
  int64_t bytes = 0;
  for (const std::string& text : texts) bytes += static_cast<int64_t>(text.size());
  EXPECT_EQ(corpus.manifest.train.text_bytes + corpus.manifest.validation.text_bytes, bytes);
  EXPECT_EQ(corpus.manifest.train.documents, std::ssize(train));
  EXPECT_EQ(corpus.manifest.sources.size(), 2u);
}

TEST_F(CorpusBuild, TheThreadsDoNotMatter) {
  Texts texts = stories(3000);
  for (uint64_t i = 0; i < 300; ++i) texts.push_back(texts[i * 7] + " Edited.");
  write("a.jsonl", json_lines(texts));
  std::string plain;
  for (uint64_t i = 5000; i < 5400; ++i) plain += story(i, 500) + "\n\n";
  write("b.txt", plain);
  std::map<std::string, std::string> expected;
  for (const int threads : {1, 2, 3, 7}) {
    options_.threads = threads;
    options_.directory = root_ + fmt::format("/data{}", threads);
    EXPECT_GT(build().manifest.near_duplicates, 10);
    if (threads == 1) expected = files();
    EXPECT_EQ(files(), expected) << threads;
  }
}

TEST_F(CorpusBuild, BytesHaveNoStartToken) {
  write("a", "first\n<|endoftext|>second<|endoftext|>third");
  options_.vocab_size = 256;
  options_.validation_fraction = 0;
  const Corpus corpus = build();
  EXPECT_EQ(documents_of(corpus, corpus.train), (Texts{"first\n", "second", "third"}));
  EXPECT_EQ(corpus.train.size(), 6 + 6 + 5);
  EXPECT_EQ(corpus.validation.size(), 0);
}

TEST_F(CorpusBuild, WhatResemblesTrainingTextDoesNotValidate) {
  Texts texts = stories(400);
  options_.vocab_size = 256;
  write("a.jsonl", json_lines(texts));
  Corpus before = build();
  const Texts validation = documents_of(before, before.validation);
  ASSERT_GT(validation.size(), 12u);
  // Of every second held-out document an edited copy, which is no candidate or the test would say nothing.
  Texts copied;
  for (size_t i = 0; i < validation.size(); i += 2) {
    copied.push_back(validation[i]);
    texts.push_back("Copy: " + validation[i]);
  }
  write("a.jsonl", json_lines(texts));
  const Corpus after = build();
  const Texts left = documents_of(after, after.validation);
  const Texts train = documents_of(after, after.train);
  EXPECT_GT(after.manifest.near_duplicates, std::ssize(copied) / 2);
  for (const std::string& text : copied) {
    if (std::ranges::count(train, "Copy: " + text) == 0) continue;
    EXPECT_EQ(std::ranges::count(left, text), 0);
    EXPECT_EQ(std::ranges::count(train, text), 1);
  }
  // moved documents stand at the end
  EXPECT_TRUE(std::ranges::count(copied, train.back()) > 0 || train.back().starts_with("Copy: "));
  for (size_t i = 1; i < validation.size(); i += 2) EXPECT_EQ(std::ranges::count(left, validation[i]), 1);
}

TEST_F(CorpusBuild, EqualDocumentsStayTogether) {
  Texts texts = stories(300);
  const Texts again = texts;
  texts.insert(texts.end(), again.begin(), again.end());
  write("a.jsonl", json_lines(texts));
  const Corpus corpus = build();
  for (const TokenStream* split : {&corpus.train, &corpus.validation}) {
    Texts held = documents_of(corpus, *split);
    for (const std::string& text : std::set<std::string>(held.begin(), held.end())) {
      EXPECT_EQ(std::ranges::count(held, text), 2);
    }
  }
  EXPECT_GT(corpus.validation.documents(), 0);
}

TEST_F(CorpusBuild, TheLastDocumentValidatesWhenNoOtherDoes) {
  write("a.jsonl", json_lines({"one document", "quite another", "the last of them"}));
  options_.validation_fraction = 1e-9;
  options_.vocab_size = 260;
  const Corpus corpus = build();
  EXPECT_EQ(documents_of(corpus, corpus.validation), Texts{"the last of them"});
  EXPECT_EQ(documents_of(corpus, corpus.train), (Texts{"one document", "quite another"}));
}

TEST_F(CorpusBuild, AGivenTokenizerIsUsed) {
  write("a.jsonl", json_lines(stories(100)));
  const Corpus first = build();
  options_.tokenizer = root_ + "/tokenizer.json";
  fs::copy_file(options_.directory + "/tokenizer.json", options_.tokenizer);
  options_.vocab_size = 0;
  options_.seed = 4;
  const Corpus second = build();
  EXPECT_EQ(second.tokenizer.json(), first.tokenizer.json());
  EXPECT_EQ(second.manifest.settings.tokenizer_hash, first.tokenizer.hash());
  write_file_atomic(options_.tokenizer, "{}");
  expect_error(options_.tokenizer);
}

TEST_F(CorpusBuild, NothingIsMadeTwice) {
  write("a.jsonl", json_lines(stories(100)));
  const Corpus first = build();
  EXPECT_EQ(build_corpus(options_), CorpusOutcome::was_there);
  fs::rename(root_ + "/text", root_ + "/moved");
  options_.paths = {root_ + "/moved"};
  options_.threads = 1;
  options_.directory += "//";
  EXPECT_EQ(build_corpus(options_), CorpusOutcome::was_there);
  options_.directory = root_ + "/data";
  for (const auto& change : std::vector<std::function<void()>>{
           [&] { options_.seed = 9; }, [&] { options_.vocab_size = 300; }, [&] { options_.validation_fraction = 0.2; },
           [&] { write_file_atomic(root_ + "/moved/b", "more"); }}) {
    change();
    EXPECT_EQ(build_corpus(options_), CorpusOutcome::made);
    EXPECT_EQ(build_corpus(options_), CorpusOutcome::was_there);
  }
  EXPECT_NE(open_corpus(options_.directory).hash, first.hash);
}

TEST_F(CorpusBuild, TheHashIsOfTheContent) {
  write("a.jsonl", json_lines(stories(100)));
  const uint64_t first = build().hash;
  options_.directory = root_ + "/other";
  EXPECT_EQ(build().hash, first);
  options_.seed = 11;
  EXPECT_NE(build().hash, first);
}

// Every byte of a shard: shards_test.cpp.
TEST_F(CorpusBuild, DamageIsFoundInEveryFile) {
  write("a.jsonl", json_lines(stories(12)));
  options_.vocab_size = 260;
  build();
  for (const auto& [name, good] : files()) {
    const std::string path = options_.directory + "/" + name;
    for (size_t i = 0; i < good.size(); i += 1 + good.size() / 150) {
      std::string bad = good;
      bad[i] = static_cast<char>(bad[i] ^ 4);
      std::ofstream(path, std::ios::binary | std::ios::trunc) << bad;
      try {
        const Corpus corpus = open_corpus(options_.directory);
        documents_of(corpus, corpus.train);
        documents_of(corpus, corpus.validation);
        ADD_FAILURE() << name << " byte " << i;
      } catch (const UserError& error) {
        EXPECT_THAT(error.what(), HasSubstr(path)) << i;
      }
    }
    std::ofstream(path, std::ios::binary | std::ios::trunc) << good;
  }
  open_corpus(options_.directory);
}

TEST_F(CorpusBuild, FilesOfAnotherCorpusAreFound) {
  write("a.jsonl", json_lines(stories(40)));
  build();
  const std::string shard = options_.directory + "/train-00000.tokens";
  const std::string kept = root_ + "/kept";
  fs::copy_file(shard, kept);
  options_.seed = 5;
  build();
  fs::copy_file(kept, shard, fs::copy_options::overwrite_existing);
  EXPECT_THROW(open_corpus(options_.directory), UserError);
  fs::remove(shard);
  EXPECT_THROW(open_corpus(options_.directory), UserError);
  EXPECT_THROW(open_corpus(root_), UserError);
}

TEST_F(CorpusBuild, ADamagedDirectoryIsMadeAgain) {
  write("a.jsonl", json_lines(stories(40)));
  build();
  std::ofstream(options_.directory + "/manifest.json", std::ios::trunc) << "{";
  build();
}

TEST_F(CorpusBuild, WrongSettingsAreNamed) {
  write("a.jsonl", json_lines(stories(40)));
  const CorpusOptions good = options_;
  const auto expect = [&](const std::function<void()>& change, const std::string& why) {
    options_ = good;
    change();
    expect_error(why);
    EXPECT_FALSE(fs::exists(good.directory));
  };
  expect([&] { options_.vocab_size = 255; }, "the vocabulary size is 255; give one from 256");
  expect([&] { options_.vocab_size = 1 << 22; }, "the vocabulary size is 4194304");
  expect([&] { options_.vocab_size = 1'000'000; }, "1000000");
  expect([&] { options_.validation_fraction = 1; }, "the validation fraction is 1;");
  expect([&] { options_.validation_fraction = std::nan(""); }, "the validation fraction is nan;");
  expect([&] { options_.threads = -1; }, "the number of threads is -1;");
  expect([&] { options_.paths = {root_ + "/absent"}; }, "cannot read " + root_ + "/absent");
  expect([&] { options_.tokenizer = root_ + "/absent"; }, "cannot read " + root_ + "/absent");
  expect([&] { options_.directory = root_ + "/text/data"; }, "/text/data lies inside " + root_ + "/text");
  expect([&] { options_.directory = root_ + "/text"; }, "lies inside");
  expect([&] { options_.directory = ""; }, "no directory is named");
}

TEST_F(CorpusBuild, TextsThatCannotBeSplitAreNamed) {
  options_.vocab_size = 256;
  write("a", " \n ");
  expect_error("there is no text in " + root_ + "/text");
  write("a", "a single document");
  expect_error("no document is left to train on: all 1 were held out");
  write("a", "same text<|endoftext|>same text<|endoftext|>same text");
  expect_error("no document is left to train on: all 3 were held out");
  const std::string text = story(1, 300);
  write("a", text + "!<|endoftext|>" + text + "?<|endoftext|>" + text);
  options_.validation_fraction = 1e-9;
  expect_error("no document is left to validate on: all 1 that were held out resemble training documents");
  options_.validation_fraction = 0;
  EXPECT_EQ(build().train.documents(), 3);
}

TEST_F(CorpusBuild, AnErrorInTheMiddleLeavesTheOldDirectory) {
  write("a.jsonl", json_lines(stories(2000)));
  build();
  const auto before = files();
  write("b.jsonl", json_lines(stories(3000)) + "{\"text\": 1}\n");
  expect_error("b.jsonl:3001: the line has a field 'text' that is not a string");
  EXPECT_EQ(files(), before);
}

TEST_F(CorpusBuild, WhatIsNotOursIsNotReplaced) {
  write("a.jsonl", json_lines(stories(40)));
  fs::create_directories(options_.directory);
  write_file_atomic(options_.directory + "/thesis.tex", "years of work");
  expect_error("holds thesis.tex, so it is no data directory to replace");
  fs::remove(options_.directory + "/thesis.tex");
  build();
  fs::remove_all(options_.directory);
  write_file_atomic(options_.directory, "a file");
  expect_error("is a file, not a directory");
}

TEST_F(CorpusBuild, AFullDiskIsAnIoErrorAndLeavesNothing) {
  write("a.jsonl", json_lines(stories(2000)));
  rlimit before = {};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  rlimit small = before;
  small.rlim_cur = 100'000;
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  EXPECT_THROW(build_corpus(options_), IoError);
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  std::signal(SIGXFSZ, handler);
  EXPECT_FALSE(fs::exists(options_.directory));
  EXPECT_FALSE(fs::exists(options_.directory + ".tmp"));
}

TEST_F(CorpusBuild, ProgressMayEndTheBuild) {
  write("a.jsonl", json_lines(stories(3000)));
  struct Stop {};
  std::set<std::string> phases;
  EXPECT_THROW(build_corpus(options_,
                            [&](const CorpusProgress& progress) {
                              phases.emplace(progress.phase);
                              EXPECT_LE(progress.done, progress.total);
                              throw Stop();
                            }),
               Stop);
  EXPECT_EQ(phases, std::set<std::string>{"scanning"});
  EXPECT_FALSE(fs::exists(options_.directory));
  EXPECT_FALSE(fs::exists(options_.directory + ".tmp"));
}

}  // namespace
}  // namespace centavo
