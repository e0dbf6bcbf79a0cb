// The two halves of every collective of several members: each member sums its own part, each sends its part to all.
//
// n elements are cut into R parts, member k has [n k / R, n (k + 1) / R): even where R divides n, and empty parts
// where n < R. Messages go straight between every pair of members, so that a rank that does not answer is known by
// name. Source: Thakur, Rabenseifner and Gropp, "Optimization of collective communication operations in MPICH", 2005
// (pairwise exchange).
#pragma once

#include <vector>

#include "ops/collective/group.h"

namespace centavo {

class PartsExchange {
 public:
  // Throws as expect_place_in_group. The communicator must outlive this.
  PartsExchange(const OpView& view, const CpuTraits& traits, int64_t elements);

  // What `reduce` needs: a chunk of at most 1 MiB for every other member.
  static int64_t workspace_bytes(const OpView& view, int64_t elements);

  // y = sum over members of x[own part], or y += it, as member_sum.h says. x holds all n elements, y the own part; y
  // may be x's own part when it is written.
  void reduce(const std::byte* x, std::byte* y, Bind bind, std::byte* workspace);

  // Every member's part of `full` becomes what that member has there.
  void gather(std::byte* full);

  std::byte* own_part(std::byte* full) const { return full + begin(index_) * element_bytes_; }

 private:
  int64_t begin(int64_t member) const { return elements_ * member / group_.ranks; }
  int64_t size(int64_t member) const { return begin(member + 1) - begin(member); }
  void reduce_chunk(const std::byte* x, int64_t at, std::byte* y, Bind bind, std::byte* workspace);
  void send(int64_t member, const std::byte* bytes, int64_t elements);
  void receive(int64_t member, std::byte* bytes, int64_t elements);
  void exchange();

  Communicator* communicator_;
  Group group_;
  int64_t index_;
  DType dtype_;
  int64_t element_bytes_;
  int64_t elements_;
  int64_t chunk_;  // elements of a part that are reduced at once
  std::vector<Send> sends_;
  std::vector<Receive> receives_;
  std::vector<const std::byte*> members_;  // where the chunk of each member lies
};

}  // namespace centavo
