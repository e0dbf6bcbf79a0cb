#include "base/between_ranks.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/errors.h"

namespace centavo {
namespace {

std::span<const std::byte> bytes_of(const std::string& text) { return std::as_bytes(std::span(text)); }

std::span<std::byte> room_of(std::string& text) { return std::as_writable_bytes(std::span(text)); }

// Sends `mine` to every other rank and receives theirs, which are as long as `all` says.
void swap_with_all(Communicator& c, std::span<const std::byte> mine, std::span<const std::span<std::byte>> all) {
  std::vector<Send> sends;
  std::vector<Receive> receives;
  for (int64_t peer = 0; peer < c.ranks(); ++peer) {
    if (peer == c.rank()) continue;
    sends.push_back({peer, mine});
    receives.push_back({peer, all[static_cast<size_t>(peer)]});
  }
  c.exchange(sends, receives);
}

template <class T>
std::vector<T> all_gather_values(Communicator& c, const T value) {
  std::vector<T> values(static_cast<size_t>(c.ranks()), value);
  std::vector<std::span<std::byte>> room;
  room.reserve(values.size());
  for (T& slot : values) room.push_back(std::as_writable_bytes(std::span(&slot, 1)));
  swap_with_all(c, std::as_bytes(std::span(&value, 1)), room);
  return values;
}

double larger(double a, double b) { return std::isnan(a) || a > b ? a : b; }

// What a rank tells the others of its call: how it ended, and its text or the error's.
constexpr char kDone = 'd';
constexpr char kIoError = 'i';
constexpr char kUserError = 'u';

// Catches, unlike elsewhere, because the other ranks wait to be told; all of them throw it on.
std::string outcome_of(const std::function<std::string()>& body) {
  try {
    return kDone + body();
  } catch (const IoError& error) {
    return kIoError + std::string(error.what());
  } catch (const UserError& error) {
    return kUserError + std::string(error.what());
  }
}

void throw_of(const Communicator& c, int64_t rank, const std::string& outcome) {
  if (outcome.front() == kDone) return;
  std::string why = outcome.substr(1);
  if (c.ranks() > 1) why = fmt::format("rank {} on host {}: {}", rank, c.host_of(rank), why);
  if (outcome.front() == kIoError) throw IoError(why);
  throw UserError(why);
}

}  // namespace

void barrier(Communicator& communicator) { all_gather_values(communicator, uint8_t{1}); }

std::vector<std::string> all_gather_texts(Communicator& communicator, const std::string& text) {
  const auto sizes = all_gather_values(communicator, static_cast<int64_t>(text.size()));
  std::vector<std::string> texts;
  texts.reserve(sizes.size());
  for (const int64_t size : sizes) texts.emplace_back(static_cast<size_t>(size), '\0');
  std::vector<std::span<std::byte>> room;
  room.reserve(texts.size());
  for (std::string& slot : texts) room.push_back(room_of(slot));
  swap_with_all(communicator, bytes_of(text), room);
  texts[static_cast<size_t>(communicator.rank())] = text;
  return texts;
}

std::string broadcast_text(Communicator& communicator, const std::string& text, int64_t root) {
  CHECK(root >= 0 && root < communicator.ranks(), "there is no rank {}", root);
  return all_gather_texts(communicator, communicator.rank() == root ? text : "")[static_cast<size_t>(root)];
}

std::vector<std::string> all_or_none(Communicator& communicator, const std::function<std::string()>& body) {
  std::vector<std::string> outcomes = all_gather_texts(communicator, outcome_of(body));
  for (size_t rank = 0; rank < outcomes.size(); ++rank) {
    throw_of(communicator, static_cast<int64_t>(rank), outcomes[rank]);
    outcomes[rank].erase(0, 1);
  }
  return outcomes;
}

std::string on_rank_zero(Communicator& communicator, const std::function<std::string()>& body) {
  const auto nothing = [] { return std::string(); };
  return all_or_none(communicator, communicator.rank() == 0 ? body : nothing).front();
}

double sum_over_ranks(Communicator& communicator, double value) {
  const auto values = all_gather_values(communicator, value);
  return std::accumulate(values.begin(), values.end(), 0.0);
}

double max_over_ranks(Communicator& communicator, double value) {
  const auto values = all_gather_values(communicator, value);
  return std::accumulate(values.begin() + 1, values.end(), values[0], larger);
}

int64_t sum_over_ranks(Communicator& communicator, int64_t value) {
  const auto values = all_gather_values(communicator, value);
  return std::accumulate(values.begin(), values.end(), int64_t{0});
}

int64_t max_over_ranks(Communicator& communicator, int64_t value) {
  return std::ranges::max(all_gather_values(communicator, value));
}

}  // namespace centavo
