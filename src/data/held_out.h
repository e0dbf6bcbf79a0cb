// Which documents may validate.
//
// The hash of a document is the XXH3-64 of its bytes, seeded. A document is a candidate when its hash, as a fraction
// of 2^64, is below the fraction to hold out; of more than `most` different candidates those with the smallest hashes
// are kept, so that they are spread over the whole text. Equal documents are candidates together. What is kept does not
// depend on the order of the calls.
#pragma once

#include <cstdint>
#include <map>
#include <mutex>
#include <string_view>
#include <unordered_map>

#include "data/near_duplicates.h"

namespace centavo {

inline constexpr size_t kMostCandidates = 65'536;

class CandidatePool {
 public:
  CandidatePool(double fraction, uint64_t seed, size_t most = kMostCandidates);

  uint64_t hash_of(std::string_view document) const;
  bool is_below_fraction(uint64_t hash) const;
  // Keeps the document if there is room, whatever its hash. Any number of threads may call it.
  void offer(uint64_t hash, std::string_view document);

  // By hash.
  const std::map<uint64_t, Signature>& candidates() const { return candidates_; }

 private:
  double fraction_;
  uint64_t seed_;
  size_t most_;
  std::mutex mutex_;
  std::map<uint64_t, Signature> candidates_;
};

// The candidates, fixed: finds those that resemble a training document. All but mark_connected may be called by any
// number of threads.
class HeldOut {
 public:
  explicit HeldOut(const CandidatePool& pool);

  static constexpr uint32_t kTrains = UINT32_MAX;
  // Which candidate has this hash; kTrains when none has.
  uint32_t candidate(uint64_t hash) const;
  size_t size() const { return numbers_.size(); }

  void saw_training_document(std::string_view document);
  // To be called when all were seen: what resembles a candidate that trains, trains too.
  void mark_connected() { index_.mark_connected(); }
  bool resembles_training(uint32_t candidate) const { return index_.is_marked(candidate); }

 private:
  std::unordered_map<uint64_t, uint32_t> numbers_;
  NearDuplicateIndex index_;
};

}  // namespace centavo
