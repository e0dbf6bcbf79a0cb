// What a rank does, for whoever watches it: OUT/ranks/rank-NNNNN.status, one page of memory a rank.
//
// The rank maps the file and writes with plain stores, so telling costs no system call, and what it told last stays in
// the system's page cache however the process ends (kill -9 too, a crash of the computer excepted). A thread of its own
// beats once a second: a busy rank beats, a stopped one does not.
//
//   identity   pid, start of the process, host, rank, ranks, launch: written once
//   beat       a counter with the times of both clocks: by the thread that beats
//   the rest   state, step, op, failure: by the rank, between two increments of `sequence`, so that a reader notices
//              what is half written
//
// A page is locked (flock) while its rank lives: a second run in the same OUT is refused.
//
// Hazard: on a full or slow disk the system may hold up a store into a mapped file while it writes the page back;
// watchers look whether the beating thread waits for the disk (`beat_thread`).
#pragma once

#include <sys/types.h>

#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>

namespace centavo {

enum class RankState : uint32_t { starting, training, saving, finished, failed };

const char* name_of(RankState state);

struct RankIdentity {
  int64_t rank = 0;
  int64_t ranks = 1;
  std::string host;
  std::string launch;  // who started it, as cli/launch.h says; empty: nobody watches
};

// Why a rank failed. `by_peer`: only because another one did, or did not answer.
struct RankFailure {
  int exit_code = 0;
  bool by_peer = false;
  std::string text;
};

// The writer. at, op, state and failed are for one thread.
class RankStatus {
 public:
  // Nobody is told: no file, no thread.
  RankStatus();
  // Makes the page and begins to beat. UserError when a living rank holds it, IoError when it cannot be made.
  RankStatus(const std::string& out_dir, const RankIdentity& identity);
  // The beat ends; the file stays.
  ~RankStatus();
  RankStatus(const RankStatus&) = delete;
  RankStatus& operator=(const RankStatus&) = delete;

  void at(int64_t step);
  // What runs from now on; the first 200 bytes are kept. A few nanoseconds: for every op of a step.
  void op(std::string_view text);
  void op_at(std::string_view text, int64_t step);
  void state(RankState state);
  // The last word: the state is `failed`. 2,000 bytes of the text are kept.
  void failed(const RankFailure& failure);

 private:
  struct Page;
  friend std::optional<struct RankReport> read_rank_status(const std::string& out_dir, int64_t rank);

  class Change;
  void beat();
  void keep_beating();

  std::unique_ptr<Page> own_;  // the page that nobody sees
  int fd_ = -1;
  Page* page_ = nullptr;
  std::mutex mutex_;
  std::condition_variable wake_;
  bool ending_ = false;
  std::thread thread_;
};

// A page as it was at one moment.
struct RankReport {
  RankIdentity identity;
  pid_t pid = 0;
  pid_t beat_thread = 0;
  uint64_t start_ticks = 0;  // base/process_stat.h
  uint64_t beats = 0;
  double beat_monotonic_s = 0;
  double beat_wall_s = 0;
  RankState state = RankState::starting;
  int64_t step = 0;
  std::string op;
  RankFailure failure;
  bool torn = false;  // the rank ended while it wrote
};

// Nothing while there is no page, or while it is being made.
std::optional<RankReport> read_rank_status(const std::string& out_dir, int64_t rank);

std::string rank_status_path(const std::string& out_dir, int64_t rank);

}  // namespace centavo
