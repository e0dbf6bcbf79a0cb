#include "tests/support/world_job.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <stdexcept>
#include <string_view>
#include <thread>

#include "base/files.h"
#include "base/host.h"
#include "base/process_stat.h"
#include "train/checkpoint_files.h"
#include "train/metrics_log.h"

namespace centavo::testing {
namespace {

namespace fs = std::filesystem;

constexpr const char* kSharedMemory = "/dev/shm";

// mpirun gives each of its ranks the number of the job; Open MPI's segments are called
// vader_segment.HOST.USER.NUMBER.RANK, the number in hexadecimal digits. Empty when the process is gone.
std::string segments_of(pid_t pid) {
  constexpr std::string_view kJob = "PMIX_NAMESPACE=";
  std::string environment;
  try {
    environment = '\0' + read_file(fmt::format("/proc/{}/environ", pid));
  } catch (const std::exception&) {
    return {};
  }
  const size_t at = environment.find('\0' + std::string(kJob));
  if (at == environment.npos) return {};
  return fmt::format(".{:x}.", std::strtoul(environment.c_str() + at + 1 + kJob.size(), nullptr, 10));
}

void remove_segments(const std::string& job) {
  std::error_code ignored;  // mpirun may be removing the same
  for (const auto& entry : fs::directory_iterator(kSharedMemory, ignored)) {
    const std::string name = entry.path().filename();
    if (name.starts_with("vader_segment.") && name.find(job) != name.npos) fs::remove(entry.path(), ignored);
  }
}

}  // namespace

bool can_start_ranks() {
  ::setenv("ASAN_OPTIONS", "detect_leaks=0", 1);  // Open MPI keeps what it has to its end
  ::setenv("OMPI_ALLOW_RUN_AS_ROOT", "1", 1);
  ::setenv("OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1", 1);
  const char* path = std::getenv("PATH");
  return !find_program("mpirun", path == nullptr ? "" : path).empty();
}

std::string world_run_file(const std::string& directory) {
  std::string text;
  for (int i = 0; i < 400; ++i) text += fmt::format("{} and {} make {}.\n\n<|endoftext|>", i, i + 1, 2 * i + 1);
  write_file_atomic(directory + "/text.txt", text);
  write_file_atomic(
      directory + "/run.toml",
      fmt::format("text = \"{}/text.txt\"\ndevice = \"cpu\"\nseq_len = 16\nmicro_batch = 2\ngrad_accum_steps = 4\n"
                  "grad_sum = \"tree\"\nmax_steps = 12\nlearning_rate = 3e-3\nschedule = \"constant\"\n"
                  "checkpoint_every = 3\nvalidation_every = 6\nvalidation_windows = 8\nthreads = 1\n\n"
                  "[model]\nvocab_size = 256\nhidden_size = 16\nintermediate_size = 32\n"
                  "num_hidden_layers = 2\nnum_attention_heads = 2\n",
                  directory));
  return directory + "/run.toml";
}

SavedState saved_state(const std::string& out) {
  SavedState state;
  const std::optional<NewestCheckpoint> newest = read_newest_checkpoint(out);
  if (!newest) return state;
  if (!newest->damaged.empty()) throw std::runtime_error(newest->damaged.front());
  state.step = newest->checkpoint.step;
  for (const StoredTensor& tensor : newest->checkpoint.tensors) {
    std::vector<std::byte>& whole = state.tensors[tensor.name];
    for (const StoredPiece& piece : tensor.pieces) whole.insert(whole.end(), piece.bytes.begin(), piece.bytes.end());
  }
  return state;
}

std::vector<double> losses_by_step(const std::string& out) {
  std::vector<double> losses;
  for (const StepRecord& record : read_metrics(metrics_path(out)).steps) {
    losses.push_back(record.loss);
    if (record.step == std::ssize(losses)) continue;
    throw std::runtime_error(fmt::format("line {} of the steps is step {}", losses.size(), record.step));
  }
  return losses;
}

std::vector<std::string> world_measurements(const std::string& out) {
  const MetricsFile metrics = read_metrics(metrics_path(out));
  std::vector<std::string> all;
  for (const StepRecord& s : metrics.steps) {
    all.push_back(fmt::format("{} {} {} {} {}", s.step, s.tokens, s.loss, s.grad_norm, s.lr));
  }
  for (const ValidationRecord& v : metrics.validations) {
    all.push_back(fmt::format("{} validation {} {} {}", v.step, v.loss, v.tokens, v.windows));
  }
  return all;
}

RanksOf::~RanksOf() {
  for (const std::string& job : segments_) remove_segments(job);
}

RankReport RanksOf::report(int64_t rank) const { return read_rank_status(out_, rank).value_or(RankReport{}); }

bool RanksOf::await(Process& parent, const std::function<bool(const RankReport&)>& done) {
  std::vector<RankReport> pages;
  while (std::ssize(pages) < ranks_) {
    if (parent.ended()) return false;
    const RankReport page = report(std::ssize(pages));
    if (page.pid > 0 && done(page)) {
      pages.push_back(page);
    } else {
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  }
  pages_.insert(pages_.end(), pages.begin(), pages.end());
  const std::string job = segments_of(pages.front().pid);
  if (!job.empty()) segments_.push_back(job);
  return true;
}

bool RanksOf::somebody_left() const {
  return std::ranges::any_of(pages_, [](const RankReport& page) { return still_runs(page.pid, page.start_ticks); });
}

}  // namespace centavo::testing
