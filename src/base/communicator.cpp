#include "base/communicator.h"

#include <algorithm>

#include "base/errors.h"

namespace centavo {

Communicator::Communicator(int64_t rank, std::vector<std::string> hosts) : rank_(rank), hosts_(std::move(hosts)) {
  CHECK(rank >= 0 && rank < ranks(), "rank {} of {}", rank, ranks());
}

void Communicator::at(std::string_view what, int64_t step) {
  what_.assign(what);  // keeps its memory
  step_ = step;
  if (observer_) observer_(what, step);
}

void Communicator::check_peers(std::span<const Send> sends, std::span<const Receive> receives) const {
  const auto check = [&](int64_t peer) {
    CHECK(peer >= 0 && peer < ranks() && peer != rank_, "rank {} of {} has no peer {}", rank_, ranks(), peer);
  };
  for (const Send& send : sends) check(send.peer);
  for (const Receive& receive : receives) check(receive.peer);
}

std::string Communicator::named(int64_t rank) const { return fmt::format("rank {} on host {}", rank, host_of(rank)); }

std::string Communicator::where() const { return fmt::format("{} at {} of step {}", named(rank_), what_, step_); }

void Communicator::did_not_answer(std::vector<int64_t> peers) const {
  std::ranges::sort(peers);
  peers.erase(std::unique(peers.begin(), peers.end()), peers.end());
  std::string names;
  for (const int64_t peer : peers) names += fmt::format("{}{}", names.empty() ? "" : ", ", named(peer));
  throw RankError(fmt::format(
      "{} did not answer within {} s, for which {} waited; see whether it still runs there and is reachable", names,
      deadline_s_, where()));
}

void Communicator::wrong_size(int64_t peer, int64_t expected_bytes, int64_t bytes) const {
  const std::string sent = bytes < 0 ? "more" : fmt::format("{} bytes", bytes);
  throw RankError(
      fmt::format("{} sent {} where {} expected {} bytes; every rank must run the same program with the same settings",
                  named(peer), sent, where(), expected_bytes));
}

void Communicator::failed(int64_t peer, const std::string& why) const {
  throw RankError(fmt::format("{} failed while {} needed it: {}", named(peer), where(), why));
}

std::vector<int64_t> members_of(const Group& group, int64_t rank) {
  std::vector<int64_t> members;
  for (int64_t k = 0; k < group.ranks; ++k) members.push_back(group.member(rank, k));
  return members;
}

}  // namespace centavo
