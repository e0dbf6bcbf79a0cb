// Whether two documents resemble each other, from a few hundred bytes a document.
//
// A shingle is 8 bytes in a row (a shorter document is one shingle); the resemblance of two documents is the Jaccard
// similarity of their sets of shingles, |A and B| / |A or B|. Bytes are taken as they are: a change of case or of line
// ends changes shingles like any edit.
//
// A signature hashes each shingle once; the top bits choose one of 128 bins, which keeps the least of the rest. Of the
// bins that are not empty in both signatures, the share that agrees estimates the similarity without bias; the
// standard deviation at similarity 0.8 is 0.035 when all bins are filled. Documents meet in an index when they agree in
// 6 neighbouring bins of one of 21 bands: at similarity 0.8 with probability 0.998, at 0.5 with 0.28, at 0.2 with
// 0.001. An empty bin counts there as the next filled one.
//
// Source: Broder, "On the resemblance and containment of documents", 1997; Li, Owen and Zhang, "One permutation
// hashing", NIPS 2012; Shrivastava and Li, "Densifying one permutation hashing via rotation", ICML 2014.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <string_view>
#include <vector>

namespace centavo {

inline constexpr size_t kShingleBytes = 8;
inline constexpr double kNearDuplicate = 0.8;  // estimated similarity from which on documents are near-duplicates

using Signature = std::array<uint32_t, 128>;

// Not empty.
Signature signature_of(std::string_view document);

double estimated_similarity(const Signature& a, const Signature& b);

// Marks which of the given documents are near-duplicates of others. What is marked does not depend on the order of the
// calls. A document is compared with those it meets, so its cost grows with the unmarked ones that share much with it.
class NearDuplicateIndex {
 public:
  explicit NearDuplicateIndex(std::vector<Signature> signatures);

  // Marks the given documents that `document` is a near-duplicate of. Any number of threads may call it.
  void mark_similar(const Signature& document);
  // Marks the near-duplicates of marked ones, and theirs, until none is left. Not beside other calls.
  void mark_connected();

  bool is_marked(size_t i) const { return marked_[i].load(std::memory_order_relaxed) != 0; }

 private:
  // The documents that agree in a band; those before `first_open` are marked.
  struct Bucket {
    uint64_t key = 0;
    uint32_t end = 0;
    std::atomic<uint32_t> first_open = 0;
  };
  struct Slot {
    uint32_t tag = 0;
    uint32_t bucket = UINT32_MAX;
  };
  void insert(uint64_t key, uint32_t bucket);
  Bucket* find(uint64_t key);
  void mark_in(Bucket& bucket, const Signature& document);

  std::vector<Signature> signatures_;
  std::vector<std::atomic<uint8_t>> marked_;
  std::vector<uint32_t> members_;  // bucket by bucket
  std::vector<Bucket> buckets_;
  std::vector<Slot> slots_;  // key to bucket: open addressing, at most half full
};

}  // namespace centavo
