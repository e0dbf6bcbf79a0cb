#include "tests/support/generated_corpus.h"

#include <fcntl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zstd.h>

#include <chrono>
#include <cmath>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <thread>

#include "base/errors.h"
#include "base/files.h"
#include "tests/support/paths.h"

namespace centavo::testing {
namespace {

// SplitMix64: fast, and good enough for text.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t next() {
    uint64_t z = state_ += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return z ^ (z >> 31);
  }
  uint64_t below(uint64_t n) { return next() % n; }
  double uniform() { return static_cast<double>(next() >> 11) * 0x1p-53; }

 private:
  uint64_t state_;
};

std::vector<std::string> make_words(Random& random) {
  std::vector<std::string> words(20'000);
  for (std::string& word : words) {
    for (uint64_t length = 2 + random.below(8); length > 0; --length) word += static_cast<char>('a' + random.below(26));
  }
  return words;
}

std::vector<std::string> make_sentences(Random& random) {
  const std::vector<std::string> words = make_words(random);
  std::vector<std::string> sentences(20'000);
  for (std::string& sentence : sentences) {
    for (uint64_t length = 4 + random.below(16); length > 0; --length) {
      const double rank = std::pow(static_cast<double>(words.size()), random.uniform()) - 1;
      sentence += words[static_cast<size_t>(rank)] + (length > 1 ? " " : ". ");
    }
  }
  return sentences;
}

class ZstdFile {
 public:
  explicit ZstdFile(const std::string& path)
      : file_(path, std::ios::binary), context_(ZSTD_createCCtx(), &ZSTD_freeCCtx) {
    ZSTD_CCtx_setParameter(context_.get(), ZSTD_c_compressionLevel, 1);
  }
  void write(const std::string& bytes, ZSTD_EndDirective end) {
    ZSTD_inBuffer in = {bytes.data(), bytes.size(), 0};
    for (size_t left = 1; left > 0 || in.pos < in.size;) {
      ZSTD_outBuffer out = {buffer_.data(), buffer_.size(), 0};
      left = ZSTD_compressStream2(context_.get(), &out, &in, end);
      CHECK(ZSTD_isError(left) == 0);
      file_.write(buffer_.data(), static_cast<std::streamsize>(out.pos));
      if (end == ZSTD_e_continue && in.pos == in.size) break;
    }
    CHECK(file_.good());
  }

 private:
  std::ofstream file_;
  std::unique_ptr<ZSTD_CCtx, decltype(&ZSTD_freeCCtx)> context_;
  std::vector<char> buffer_ = std::vector<char>(1 << 17);
};

void append_line(const std::vector<std::string>& sentences, Random& random, std::string& to) {
  to += "{\"text\": \"";
  for (uint64_t count = 1 + random.below(60); count > 0; --count) to += sentences[random.below(sentences.size())];
  to += "\"}\n";
}

}  // namespace

void write_generated_corpus(const std::string& directory, int64_t total_bytes, int files) {
  Random random(1);
  const std::vector<std::string> sentences = make_sentences(random);
  std::filesystem::create_directories(directory);
  for (int i = 0; i < files; ++i) {
    ZstdFile file(fmt::format("{}/part {:03}.jsonl.zst", directory, i));
    std::string lines;
    for (int64_t left = total_bytes / files; left > 0; left -= static_cast<int64_t>(lines.size())) {
      lines.clear();
      while (lines.size() < (1 << 20)) append_line(sentences, random, lines);
      file.write(lines, ZSTD_e_continue);
    }
    file.write("", ZSTD_e_end);
  }
}

ProgramResult run_centavo(const std::vector<std::string>& arguments, int64_t interrupt_after_ms) {
  std::string log = std::filesystem::temp_directory_path() / "centavo_output_XXXXXX";
  const int fd = ::mkstemp(log.data());
  CHECK(fd >= 0);
  std::string program = program_path();
  std::vector<char*> argv = {program.data()};
  for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
  argv.push_back(nullptr);
  const pid_t child = ::fork();
  if (child == 0) {
    ::dup2(fd, STDOUT_FILENO);
    ::dup2(fd, STDERR_FILENO);
    ::execv(argv[0], argv.data());
    ::_exit(127);
  }
  ::close(fd);
  if (interrupt_after_ms > 0) {
    std::this_thread::sleep_for(std::chrono::milliseconds(interrupt_after_ms));
    ::kill(child, SIGINT);
  }
  int status = 0;
  rusage usage = {};
  CHECK(::wait4(child, &status, 0, &usage) == child);
  ProgramResult result = {.peak_bytes = usage.ru_maxrss * 1024, .out = read_file(log)};
  if (WIFEXITED(status)) result.exit_code = WEXITSTATUS(status);
  if (WIFSIGNALED(status)) result.signal = WTERMSIG(status);
  ::unlink(log.c_str());
  return result;
}

}  // namespace centavo::testing
