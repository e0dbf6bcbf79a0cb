// Ranks as threads of one process. For tests, and for looking at several ranks in one debugger.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "base/communicator.h"

namespace centavo {

class ThreadWorld {
 public:
  explicit ThreadWorld(int64_t ranks);
  ~ThreadWorld();

  // The communicator of a rank, for that rank's thread.
  Communicator& of(int64_t rank) { return *ranks_.at(static_cast<size_t>(rank)); }

  // Calls body for every rank, each in a thread of its own, and waits for all. When a rank throws, the exchanges of
  // the others throw RankErrors that name it; then the first exception is thrown on. After that the world is of no
  // more use.
  void run(const std::function<void(Communicator&)>& body);

 private:
  class Board;
  class Rank;

  std::unique_ptr<Board> board_;
  std::vector<std::unique_ptr<Communicator>> ranks_;
};

}  // namespace centavo
