#include "ops/collective/parts_exchange.h"

#include <algorithm>

#include "ops/collective/member_sum.h"

namespace centavo {
namespace {

constexpr int64_t kChunkBytes = 1 << 20;

int64_t longest_part(int64_t elements, int64_t ranks) { return (elements + ranks - 1) / ranks; }

int64_t chunk_elements(int64_t elements, int64_t ranks, DType dtype) {
  return std::min(kChunkBytes / size_of(dtype), longest_part(elements, ranks));
}

}  // namespace

PartsExchange::PartsExchange(const OpView& view, const CpuTraits& traits, int64_t elements)
    : communicator_(traits.communicator),
      group_(group_of(view)),
      dtype_(view.input(0).dtype),
      element_bytes_(size_of(dtype_)),
      elements_(elements),
      chunk_(chunk_elements(elements, group_.ranks, dtype_)) {
  expect_place_in_group(view, communicator_);
  index_ = group_.index_of(communicator_->rank());
  sends_.reserve(static_cast<size_t>(group_.ranks));
  receives_.reserve(static_cast<size_t>(group_.ranks));
  members_.resize(static_cast<size_t>(group_.ranks));
}

int64_t PartsExchange::workspace_bytes(const OpView& view, int64_t elements) {
  const Group group = group_of(view);
  const DType dtype = view.input(0).dtype;
  return (group.ranks - 1) * chunk_elements(elements, group.ranks, dtype) * size_of(dtype);
}

void PartsExchange::reduce(const std::byte* x, std::byte* y, Bind bind, std::byte* workspace) {
  const int64_t longest = longest_part(elements_, group_.ranks);
  for (int64_t at = 0; at < longest; at += chunk_) reduce_chunk(x, at, y, bind, workspace);
}

// Elements [at, at + chunk) of every part. Nobody writes what others have yet to be sent: y is apart from x or its own
// part, which no other member gets.
void PartsExchange::reduce_chunk(const std::byte* x, int64_t at, std::byte* y, Bind bind, std::byte* workspace) {
  const auto length = [&](int64_t member) { return std::clamp<int64_t>(size(member) - at, 0, chunk_); };
  const int64_t mine = length(index_);
  std::byte* room = workspace;
  for (int64_t k = 0; k < group_.ranks; ++k) {
    if (k == index_) {
      members_[static_cast<size_t>(k)] = x + (begin(k) + at) * element_bytes_;
      continue;
    }
    send(k, x + (begin(k) + at) * element_bytes_, length(k));
    receive(k, room, mine);
    members_[static_cast<size_t>(k)] = room;
    room += mine * element_bytes_;
  }
  exchange();
  if (mine > 0) member_sum(dtype_, members_, mine, y + at * element_bytes_, bind);
}

void PartsExchange::gather(std::byte* full) {
  for (int64_t k = 0; k < group_.ranks; ++k) {
    if (k == index_) continue;
    send(k, own_part(full), size(index_));
    receive(k, full + begin(k) * element_bytes_, size(k));
  }
  exchange();
}

// Both sides know which messages are empty, and leave them out.
void PartsExchange::send(int64_t member, const std::byte* bytes, int64_t elements) {
  if (elements == 0) return;
  sends_.push_back(
      {group_.member(communicator_->rank(), member), {bytes, static_cast<size_t>(elements * element_bytes_)}});
}

void PartsExchange::receive(int64_t member, std::byte* bytes, int64_t elements) {
  if (elements == 0) return;
  receives_.push_back(
      {group_.member(communicator_->rank(), member), {bytes, static_cast<size_t>(elements * element_bytes_)}});
}

void PartsExchange::exchange() {
  communicator_->exchange(sends_, receives_);
  sends_.clear();
  receives_.clear();
}

}  // namespace centavo
