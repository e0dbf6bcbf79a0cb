#include "data/held_out.h"

#include <xxhash.h>

namespace centavo {
namespace {

std::vector<Signature> signatures_in(const CandidatePool& pool) {
  std::vector<Signature> signatures;
  signatures.reserve(pool.candidates().size());
  for (const auto& [hash, signature] : pool.candidates()) signatures.push_back(signature);
  return signatures;
}

}  // namespace

CandidatePool::CandidatePool(double fraction, uint64_t seed, size_t most)
    : fraction_(fraction), seed_(seed), most_(most) {}

uint64_t CandidatePool::hash_of(std::string_view document) const {
  return XXH3_64bits_withSeed(document.data(), document.size(), seed_);
}

bool CandidatePool::is_below_fraction(uint64_t hash) const { return static_cast<double>(hash) * 0x1p-64 < fraction_; }

void CandidatePool::offer(uint64_t hash, std::string_view document) {
  {
    const std::lock_guard lock(mutex_);
    const bool full = candidates_.size() >= most_;
    if (candidates_.contains(hash) || (full && hash > candidates_.rbegin()->first)) return;
  }
  const Signature signature = signature_of(document);
  const std::lock_guard lock(mutex_);
  candidates_.emplace(hash, signature);
  if (candidates_.size() > most_) candidates_.erase(std::prev(candidates_.end()));
}

HeldOut::HeldOut(const CandidatePool& pool) : index_(signatures_in(pool)) {
  uint32_t number = 0;
  for (const auto& [hash, signature] : pool.candidates()) numbers_.emplace(hash, number++);
}

uint32_t HeldOut::candidate(uint64_t hash) const {
  const auto found = numbers_.find(hash);
  return found == numbers_.end() ? kTrains : found->second;
}

void HeldOut::saw_training_document(std::string_view document) {
  if (size() > 0) index_.mark_similar(signature_of(document));
}

}  // namespace centavo
