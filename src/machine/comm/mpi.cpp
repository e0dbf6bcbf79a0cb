#include "machine/comm/mpi.h"

#include <cstdlib>
#include <exception>

#include "base/errors.h"

#ifdef CENTAVO_MPI
#include <mpi.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <climits>
#include <thread>

namespace centavo {
namespace {

using Clock = std::chrono::steady_clock;

constexpr auto kBusyWait = std::chrono::microseconds(200);
constexpr auto kLongestSleep = std::chrono::microseconds(500);

// A message goes in pieces, and the tag says which is the last: a receiver that expects another number of them
// notices.
enum Tag : int { more_follows = 0, last_piece = 1 };

std::string text_of(int code) {
  std::array<char, MPI_MAX_ERROR_STRING> text = {};
  int length = 0;
  MPI_Error_string(code, text.data(), &length);
  return {text.data(), static_cast<size_t>(length)};
}

void check_mpi(int code, const char* call) {
  if (code != MPI_SUCCESS) throw IoError(fmt::format("{} failed: {}", call, text_of(code)));
}

// Ranks may be more than processors: a waiting one gives its own up, at first to whom it may concern, then for times
// that grow with the wait.
class Patience {
 public:
  void moved() { since_ = Clock::now(); }
  double waited_s() const { return std::chrono::duration<double>(Clock::now() - since_).count(); }
  void wait() const {
    const auto waited = Clock::now() - since_;
    if (waited < kBusyWait) {
      std::this_thread::yield();
    } else {
      std::this_thread::sleep_for(std::min<Clock::duration>(waited / 8, kLongestSleep));
    }
  }

 private:
  Clock::time_point since_ = Clock::now();
};

class MpiCommunicator : public Communicator {
 public:
  MpiCommunicator(int64_t rank, std::vector<std::string> hosts, MPI_Comm comm, int64_t piece_bytes)
      : Communicator(rank, std::move(hosts)), comm_(comm), piece_bytes_(piece_bytes) {}

  void exchange(std::span<const Send> sends, std::span<const Receive> receives) override {
    check_peers(sends, receives);
    pieces_.clear();
    requests_.clear();
    const Cancellation cancellation(*this);
    for (const Receive& receive : receives) post(receive.peer, receive.bytes.data(), receive.bytes.size(), true);
    for (const Send& send : sends) post(send.peer, send.bytes.data(), send.bytes.size(), false);
    Patience patience;
    for (size_t open = requests_.size(); open > 0;) {
      const size_t done = test();
      open -= done;
      if (done > 0) {
        patience.moved();
      } else if (patience.waited_s() >= deadline_s()) {
        did_not_answer(open_peers());
      } else {
        patience.wait();
      }
    }
  }

 private:
  struct Piece {
    int64_t peer;
    int64_t message_bytes;
    int64_t begin;
    int64_t bytes;
    bool received;
    bool last() const { return begin + bytes == message_bytes; }
  };

  // After an error nobody may write into memory that the caller gives up.
  class Cancellation {
   public:
    explicit Cancellation(MpiCommunicator& owner) : owner_(owner) {}
    Cancellation(const Cancellation&) = delete;
    Cancellation& operator=(const Cancellation&) = delete;
    ~Cancellation() {
      for (size_t i = 0; i < owner_.requests_.size(); ++i) {
        MPI_Request& request = owner_.requests_[i];
        if (request == MPI_REQUEST_NULL) continue;
        if (owner_.pieces_[i].received) MPI_Cancel(&request);
        MPI_Request_free(&request);
      }
    }

   private:
    MpiCommunicator& owner_;
  };

  // An empty message is one empty piece.
  template <class Byte>
  void post(int64_t peer, Byte* bytes, size_t size, bool receive) {
    const auto message_bytes = static_cast<int64_t>(size);
    int64_t begin = 0;
    do {
      const int64_t n = std::min(piece_bytes_, message_bytes - begin);
      pieces_.push_back({peer, message_bytes, begin, n, receive});
      requests_.push_back(MPI_REQUEST_NULL);
      start(pieces_.back(), bytes + begin, requests_.back());
      begin += n;
    } while (begin < message_bytes);
  }

  void start(const Piece& piece, std::byte* to, MPI_Request& request) {
    check_mpi(MPI_Irecv(to, static_cast<int>(piece.bytes), MPI_BYTE, static_cast<int>(piece.peer), MPI_ANY_TAG, comm_,
                        &request),
              "MPI_Irecv");
  }

  void start(const Piece& piece, const std::byte* from, MPI_Request& request) {
    check_mpi(MPI_Isend(from, static_cast<int>(piece.bytes), MPI_BYTE, static_cast<int>(piece.peer),
                        piece.last() ? last_piece : more_follows, comm_, &request),
              "MPI_Isend");
  }

  // How many requests have come to their end.
  size_t test() {
    indices_.resize(requests_.size());
    statuses_.resize(requests_.size());
    int count = 0;
    const int code =
        MPI_Testsome(static_cast<int>(requests_.size()), requests_.data(), &count, indices_.data(), statuses_.data());
    if (code != MPI_ERR_IN_STATUS) check_mpi(code, "MPI_Testsome");
    for (int i = 0; i < count; ++i) {
      const auto at = static_cast<size_t>(i);
      check(pieces_[static_cast<size_t>(indices_[at])], statuses_[at],
            code == MPI_ERR_IN_STATUS ? statuses_[at].MPI_ERROR : MPI_SUCCESS);
    }
    return static_cast<size_t>(count);
  }

  void check(const Piece& piece, const MPI_Status& status, int code) const {
    int kind = MPI_SUCCESS;
    if (code != MPI_SUCCESS) MPI_Error_class(code, &kind);
    if (kind == MPI_ERR_TRUNCATE) wrong_size(piece.peer, piece.message_bytes, -1);
    if (kind != MPI_SUCCESS) failed(piece.peer, text_of(code));
    if (!piece.received) return;
    int bytes = 0;
    check_mpi(MPI_Get_count(&status, MPI_BYTE, &bytes), "MPI_Get_count");
    const bool last = status.MPI_TAG == last_piece;
    if (bytes == piece.bytes && last == piece.last()) return;
    wrong_size(piece.peer, piece.message_bytes, last ? piece.begin + bytes : -1);
  }

  std::vector<int64_t> open_peers() const {
    std::vector<int64_t> peers;
    for (size_t i = 0; i < requests_.size(); ++i) {
      if (requests_[i] != MPI_REQUEST_NULL) peers.push_back(pieces_[i].peer);
    }
    return peers;
  }

  MPI_Comm comm_;
  int64_t piece_bytes_;
  // Of the exchange that runs, in one order; kept for their memory.
  std::vector<Piece> pieces_;
  std::vector<MPI_Request> requests_;
  std::vector<int> indices_;
  std::vector<MPI_Status> statuses_;
};

std::vector<std::string> gather_hosts(int ranks) {
  std::array<char, MPI_MAX_PROCESSOR_NAME> mine = {};
  int length = 0;
  check_mpi(MPI_Get_processor_name(mine.data(), &length), "MPI_Get_processor_name");
  std::vector<char> all(static_cast<size_t>(ranks) * mine.size());
  check_mpi(MPI_Allgather(mine.data(), static_cast<int>(mine.size()), MPI_CHAR, all.data(),
                          static_cast<int>(mine.size()), MPI_CHAR, MPI_COMM_WORLD),
            "MPI_Allgather");
  std::vector<std::string> hosts;
  for (size_t i = 0; i < static_cast<size_t>(ranks); ++i) hosts.emplace_back(all.data() + i * mine.size());
  return hosts;
}

}  // namespace

MpiWorld::MpiWorld(int64_t piece_bytes) : exceptions_(std::uncaught_exceptions()) {
  CHECK(piece_bytes > 0 && piece_bytes <= INT_MAX, "pieces of {} bytes", piece_bytes);
  int provided = 0;
  check_mpi(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided), "MPI_Init_thread");
  check_mpi(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
  int rank = 0;
  int ranks = 0;
  check_mpi(MPI_Comm_rank(MPI_COMM_WORLD, &rank), "MPI_Comm_rank");
  check_mpi(MPI_Comm_size(MPI_COMM_WORLD, &ranks), "MPI_Comm_size");
  communicator_ = std::make_unique<MpiCommunicator>(rank, gather_hosts(ranks), MPI_COMM_WORLD, piece_bytes);
}

MpiWorld::~MpiWorld() {
  if (std::uncaught_exceptions() > exceptions_) return;  // the others are not on their way to MPI_Finalize
  communicator_.reset();
  MPI_Finalize();
}

void MpiWorld::abort(int exit_code) {
  MPI_Abort(MPI_COMM_WORLD, exit_code);
  std::_Exit(exit_code);  // MPI_Abort does not promise to end its caller
}

void require_mpi() {}

}  // namespace centavo

#else

namespace centavo {

void require_mpi() {
  user_error(
      "centavo was built without Open MPI, and several ranks need it; install libopenmpi-dev and openmpi-bin and "
      "build again");
}

MpiWorld::MpiWorld(int64_t) : exceptions_(0) { require_mpi(); }

MpiWorld::~MpiWorld() = default;

void MpiWorld::abort(int exit_code) { std::_Exit(exit_code); }

}  // namespace centavo

#endif
