#include "machine/comm/threads.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <exception>
#include <mutex>
#include <optional>
#include <string>
#include <thread>

#include "base/errors.h"
#include "machine/comm/host_name.h"

namespace centavo {
namespace {

using Clock = std::chrono::steady_clock;

// Lies in its sender's exchange, which lasts until it is taken.
struct Message {
  int64_t to = 0;
  std::span<const std::byte> bytes;
  bool taken = false;
};

}  // namespace

// Where the ranks meet; everything below the mutex. Messages are copied under it too: worlds of threads are small, and
// a sender that gives up must be sure that nobody still reads.
class ThreadWorld::Board {
 public:
  explicit Board(int64_t ranks) : ranks_(ranks), boxes_(static_cast<size_t>(ranks * ranks)) {}

  std::deque<Message*>& box(int64_t from, int64_t to) { return boxes_[static_cast<size_t>(from * ranks_ + to)]; }

  struct Failure {
    int64_t rank;
    std::string why;
    std::exception_ptr exception;
  };

  void fail(int64_t rank, const std::string& why) {
    const std::lock_guard lock(mutex);
    if (!failure) failure = {rank, why, std::current_exception()};
    moved.notify_all();
  }

  std::mutex mutex;
  std::condition_variable moved;
  std::optional<Failure> failure;  // the first

 private:
  int64_t ranks_;
  std::vector<std::deque<Message*>> boxes_;
};

class ThreadWorld::Rank : public Communicator {
 public:
  Rank(Board& board, int64_t rank, std::vector<std::string> hosts)
      : Communicator(rank, std::move(hosts)), board_(board) {}

  void exchange(std::span<const Send> sends, std::span<const Receive> receives) override {
    check_peers(sends, receives);
    std::unique_lock lock(board_.mutex);
    std::vector<Message> posted;
    for (const Send& send : sends) posted.push_back({send.peer, send.bytes});
    for (Message& message : posted) board_.box(rank(), message.to).push_back(&message);
    const Withdrawal withdrawal(*this, posted);  // before the lock is let go
    board_.moved.notify_all();

    std::vector<bool> received(receives.size());
    size_t open = posted.size() + receives.size() + 1;
    Clock::time_point last_move;
    for (;;) {
      take(receives, received);
      const std::vector<int64_t> peers = still_open(posted, receives, received);
      if (peers.empty()) return;
      if (peers.size() < open) last_move = Clock::now();
      open = peers.size();
      if (board_.failure) failed(board_.failure->rank, board_.failure->why);
      const auto waited = std::chrono::duration<double>(Clock::now() - last_move);
      if (waited.count() >= deadline_s()) did_not_answer(peers);
      board_.moved.wait_for(lock, std::chrono::duration<double>(deadline_s()) - waited);
    }
  }

 private:
  // Takes what nobody has taken out of the boxes again, however the exchange ends.
  class Withdrawal {
   public:
    Withdrawal(Rank& rank, std::vector<Message>& posted) : rank_(rank), posted_(posted) {}
    Withdrawal(const Withdrawal&) = delete;
    Withdrawal& operator=(const Withdrawal&) = delete;
    ~Withdrawal() {
      for (Message& message : posted_) {
        if (!message.taken) std::erase(rank_.board_.box(rank_.rank(), message.to), &message);
      }
    }

   private:
    Rank& rank_;
    std::vector<Message>& posted_;
  };

  // Whatever has been posted for the receives, in order.
  void take(std::span<const Receive> receives, std::vector<bool>& received) {
    for (size_t i = 0; i < receives.size(); ++i) {
      std::deque<Message*>& box = board_.box(receives[i].peer, rank());
      if (received[i] || box.empty()) continue;
      Message& message = *box.front();
      if (message.bytes.size() != receives[i].bytes.size()) {
        wrong_size(receives[i].peer, static_cast<int64_t>(receives[i].bytes.size()),
                   static_cast<int64_t>(message.bytes.size()));
      }
      if (!message.bytes.empty()) std::memcpy(receives[i].bytes.data(), message.bytes.data(), message.bytes.size());
      message.taken = true;
      received[i] = true;
      box.pop_front();
      board_.moved.notify_all();
    }
  }

  // The peer of every message that has not gone through.
  static std::vector<int64_t> still_open(const std::vector<Message>& posted, std::span<const Receive> receives,
                                         const std::vector<bool>& received) {
    std::vector<int64_t> peers;
    for (const Message& message : posted) {
      if (!message.taken) peers.push_back(message.to);
    }
    for (size_t i = 0; i < receives.size(); ++i) {
      if (!received[i]) peers.push_back(receives[i].peer);
    }
    return peers;
  }

  Board& board_;
};

ThreadWorld::ThreadWorld(int64_t ranks) : board_(std::make_unique<Board>(ranks)) {
  CHECK(ranks >= 1, "a world of {} ranks", ranks);
  const std::vector<std::string> hosts(static_cast<size_t>(ranks), host_name());
  for (int64_t rank = 0; rank < ranks; ++rank) ranks_.push_back(std::make_unique<Rank>(*board_, rank, hosts));
}

ThreadWorld::~ThreadWorld() = default;

void ThreadWorld::run(const std::function<void(Communicator&)>& body) {
  // The root of a rank: an exception must not leave its thread.
  const auto root = [&](Communicator& communicator) {
    try {
      body(communicator);
    } catch (const std::exception& error) {
      board_->fail(communicator.rank(), error.what());
    } catch (...) {
      board_->fail(communicator.rank(), "an exception without a text");
    }
  };
  std::vector<std::thread> threads;
  for (const auto& rank : ranks_) threads.emplace_back(root, std::ref(*rank));
  for (std::thread& thread : threads) thread.join();
  if (board_->failure) std::rethrow_exception(board_->failure->exception);
}

}  // namespace centavo
