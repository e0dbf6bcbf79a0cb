#include "train/rank_status.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstddef>
#include <cstring>

#include "base/errors.h"
#include "base/files.h"
#include "base/process_stat.h"

namespace centavo {
namespace {

constexpr uint64_t kMagic = 0x31'4b4e'4152'4e43;  // "CNRANK1" in the order of the bytes of a little-endian number
constexpr size_t kPageBytes = 4096;
constexpr auto kBeatEvery = std::chrono::seconds(1);
constexpr int kTries = 1000;

// A text of a fixed place; longer ones are cut.
template <size_t n>
struct Text {
  uint32_t size;
  std::array<char, n> bytes;

  void set(std::string_view text) {
    size = static_cast<uint32_t>(std::min(text.size(), n));
    std::memcpy(bytes.data(), text.data(), size);
  }
  std::string get() const { return {bytes.data(), std::min<size_t>(size, n)}; }
};

template <class Clock>
int64_t now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now().time_since_epoch()).count();
}

double seconds(int64_t ns) { return static_cast<double>(ns) * 1e-9; }

// A full disk must be noticed here: a store into a page without a block on the disk ends the process.
void reserve(int fd, const std::string& path) {
  const int code = ::posix_fallocate(fd, 0, kPageBytes);
  if (code == 0) return;
  errno = code;
  io_error("posix_fallocate", path);
}

void lock(int fd, const std::string& out_dir, const std::string& path) {
  if (::flock(fd, LOCK_EX | LOCK_NB) == 0) return;
  if (errno != EWOULDBLOCK) io_error("flock", path);
  user_error("{} is in use by another centavo; wait until that ends or choose another directory with out=DIR", out_dir);
}

}  // namespace

struct RankStatus::Page {
  std::atomic<uint64_t> magic;  // written last
  int64_t rank;
  int64_t ranks;
  int64_t pid;
  int64_t beat_thread;
  uint64_t start_ticks;
  Text<252> host;
  Text<124> launch;

  std::atomic<uint64_t> beats;
  std::atomic<int64_t> beat_monotonic_ns;
  std::atomic<int64_t> beat_wall_ns;

  std::atomic<uint64_t> sequence;  // odd while what follows changes
  int64_t step;
  RankState state;
  int32_t exit_code;
  uint32_t by_peer;
  Text<200> op;
  Text<2000> failure;
};

// Marks the page as changing while it lives.
class RankStatus::Change {
 public:
  explicit Change(Page& page) : page_(page), sequence_(page.sequence.load(std::memory_order_relaxed)) {
    page_.sequence.store(sequence_ + 1, std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_release);
  }
  ~Change() { page_.sequence.store(sequence_ + 2, std::memory_order_release); }
  Change(const Change&) = delete;
  Change& operator=(const Change&) = delete;

 private:
  Page& page_;
  uint64_t sequence_;
};

const char* name_of(RankState state) {
  constexpr std::array<const char*, 5> kNames = {"starting", "training", "saving", "finished", "failed"};
  const auto index = static_cast<size_t>(state);
  return index < kNames.size() ? kNames[index] : "unknown";
}

std::string rank_status_path(const std::string& out_dir, int64_t rank) {
  return fmt::format("{}/ranks/rank-{:05}.status", out_dir, rank);
}

RankStatus::RankStatus() : own_(std::make_unique<Page>()), page_(own_.get()) {}

RankStatus::RankStatus(const std::string& out_dir, const RankIdentity& identity) {
  static_assert(sizeof(Page) <= kPageBytes && std::atomic<uint64_t>::is_always_lock_free);
  const std::string path = rank_status_path(out_dir, identity.rank);
  make_directories(parent_directory(path));
  fd_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (fd_ < 0) io_error("open", path);
  try {
    lock(fd_, out_dir, path);
    reserve(fd_, path);
    void* memory = ::mmap(nullptr, kPageBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd_, 0);
    if (memory == MAP_FAILED) io_error("mmap", path);
    page_ = static_cast<Page*>(memory);
  } catch (...) {
    ::close(fd_);
    throw;
  }
  page_->magic.store(0);
  std::memset(static_cast<void*>(page_), 0, kPageBytes);
  page_->rank = identity.rank;
  page_->ranks = identity.ranks;
  page_->pid = ::getpid();
  page_->start_ticks = process_stat(::getpid()).value_or(ProcessStat{}).start_ticks;
  page_->host.set(identity.host);
  page_->launch.set(identity.launch);
  beat();
  page_->magic.store(kMagic, std::memory_order_release);
  thread_ = std::thread([this] { keep_beating(); });
}

RankStatus::~RankStatus() {
  if (own_ != nullptr) return;
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
  }
  wake_.notify_one();
  thread_.join();
  ::munmap(page_, kPageBytes);
  ::close(fd_);
}

void RankStatus::beat() {
  page_->beat_monotonic_ns.store(now_ns<std::chrono::steady_clock>(), std::memory_order_relaxed);
  page_->beat_wall_ns.store(now_ns<std::chrono::system_clock>(), std::memory_order_relaxed);
  page_->beats.fetch_add(1, std::memory_order_release);
}

void RankStatus::keep_beating() {
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, nullptr);  // signals are the rank's own thread's
  page_->beat_thread = ::gettid();
  std::unique_lock lock(mutex_);
  while (!wake_.wait_for(lock, kBeatEvery, [this] { return ending_; })) beat();
}

void RankStatus::at(int64_t step) {
  const Change change(*page_);
  page_->step = step;
}

void RankStatus::op(std::string_view text) {
  const Change change(*page_);
  page_->op.set(text);
}

void RankStatus::op_at(std::string_view text, int64_t step) {
  const Change change(*page_);
  page_->op.set(text);
  page_->step = step;
}

void RankStatus::state(RankState state) {
  const Change change(*page_);
  page_->state = state;
}

void RankStatus::failed(const RankFailure& failure) {
  const Change change(*page_);
  page_->exit_code = failure.exit_code;
  page_->by_peer = failure.by_peer ? 1 : 0;
  page_->failure.set(failure.text);
  page_->state = RankState::failed;
}

// Looks at the page until nothing changed meanwhile. A rank that ended in the middle of a change leaves it odd for
// ever.
std::optional<RankReport> read_rank_status(const std::string& out_dir, int64_t rank) {
  using Page = RankStatus::Page;
  const int fd = ::open(rank_status_path(out_dir, rank).c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return {};
  alignas(Page) std::array<std::byte, sizeof(Page)> bytes = {};
  const Page& page = *reinterpret_cast<const Page*>(bytes.data());
  const auto sequence_now = [&] {
    uint64_t sequence = 0;
    constexpr auto at = offsetof(Page, sequence);
    return ::pread(fd, &sequence, sizeof sequence, at) == sizeof sequence ? sequence : 1;
  };
  bool whole = false;
  bool read = true;
  for (int i = 0; i < kTries && !whole && read; ++i) {
    const uint64_t before = sequence_now();
    read = ::pread(fd, bytes.data(), bytes.size(), 0) == static_cast<ssize_t>(bytes.size());
    whole = before % 2 == 0 && sequence_now() == before;
  }
  ::close(fd);
  if (!read || page.magic != kMagic) return {};
  return RankReport{
      .identity = {page.rank, page.ranks, page.host.get(), page.launch.get()},
      .pid = static_cast<pid_t>(page.pid),
      .beat_thread = static_cast<pid_t>(page.beat_thread),
      .start_ticks = page.start_ticks,
      .beats = page.beats,
      .beat_monotonic_s = seconds(page.beat_monotonic_ns),
      .beat_wall_s = seconds(page.beat_wall_ns),
      .state = page.state,
      .step = page.step,
      .op = page.op.get(),
      .failure = {page.exit_code, page.by_peer != 0, page.failure.get()},
      .torn = !whole,
  };
}

}  // namespace centavo
