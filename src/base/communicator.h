// Ranks: the processes of one run, and how they talk to each other.
//
// A world has `ranks()` ranks, numbered from 0. Everything they say goes through `exchange`; collective ops
// (ops/collective/) and host-level agreements (between_ranks.h) are built on it. Implementations: machine/comm/.
// A communicator belongs to one thread of its rank.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace centavo {

// One message to, or from, another rank. The memory must stay untouched until `exchange` returns.
struct Send {
  int64_t peer = 0;
  std::span<const std::byte> bytes;
};

struct Receive {
  int64_t peer = 0;
  std::span<std::byte> bytes;
};

class Communicator {
 public:
  virtual ~Communicator() = default;
  Communicator(const Communicator&) = delete;
  Communicator& operator=(const Communicator&) = delete;

  int64_t rank() const { return rank_; }
  int64_t ranks() const { return static_cast<int64_t>(hosts_.size()); }
  // The name of the computer that a rank runs on.
  const std::string& host_of(int64_t rank) const { return hosts_.at(static_cast<size_t>(rank)); }

  // All messages at once; returns when every one has been sent and received. Messages between two ranks are matched
  // in the order in which they stand here and in earlier calls; empty ones are messages like any other. Peers are
  // other ranks (CHECKed). Throws RankError when a message has another size than its receiver expects, when a peer
  // has failed, and when nothing has moved for the time of the deadline; after that this world is of no more use.
  virtual void exchange(std::span<const Send> sends, std::span<const Receive> receives) = 0;

  // What this rank does from now on, for messages: the text of an op, and the step. Kept until the next call.
  void at(std::string_view what, int64_t step);
  // Who is told of every `at` besides (train/rank_status.h); an empty function ends that. It is called on the thread of
  // the rank, before the op, and must be quick.
  using Observer = std::function<void(std::string_view what, int64_t step)>;
  void observe(Observer observer) { observer_ = std::move(observer); }
  // How long `exchange` waits for peers from which nothing comes. They may be as late as the slowest thing that one
  // rank does alone.
  void set_deadline(double seconds) { deadline_s_ = seconds; }

  static constexpr double kDefaultDeadlineSeconds = 600;

 protected:
  // One host name a rank.
  Communicator(int64_t rank, std::vector<std::string> hosts);

  double deadline_s() const { return deadline_s_; }
  void check_peers(std::span<const Send> sends, std::span<const Receive> receives) const;

  // The RankErrors of an exchange. `peers` in any order, repeated or not; a size of -1: larger than expected.
  [[noreturn]] void did_not_answer(std::vector<int64_t> peers) const;
  [[noreturn]] void wrong_size(int64_t peer, int64_t expected_bytes, int64_t bytes) const;
  [[noreturn]] void failed(int64_t peer, const std::string& why) const;

 private:
  std::string named(int64_t rank) const;  // "rank 2 on host b"
  std::string where() const;              // "rank 0 on host a at %12 reduce_scatter of step 7"

  int64_t rank_;
  std::vector<std::string> hosts_;
  std::string what_ = "the start";
  int64_t step_ = 0;
  Observer observer_;
  double deadline_s_ = kDefaultDeadlineSeconds;
};

// Ranks that do a collective together: those that differ by multiples of `stride`, `ranks` of them. The world is cut
// into groups of ranks * stride neighbours, and each of these into `stride` groups.
struct Group {
  int64_t ranks = 1;
  int64_t stride = 1;

  // Which member of its group a rank is.
  int64_t index_of(int64_t rank) const { return rank / stride % ranks; }
  // Member `index` of the group of `rank`.
  int64_t member(int64_t rank, int64_t index) const {
    return rank / (ranks * stride) * (ranks * stride) + rank % stride + index * stride;
  }
  bool operator==(const Group&) const = default;
};

std::vector<int64_t> members_of(const Group& group, int64_t rank);

}  // namespace centavo
