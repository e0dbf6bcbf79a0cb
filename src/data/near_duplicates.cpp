#include "data/near_duplicates.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "base/errors.h"

namespace centavo {
namespace {

constexpr size_t kBins = std::tuple_size_v<Signature>;
constexpr size_t kRows = 6;
constexpr size_t kBands = kBins / kRows;
constexpr uint32_t kEmpty = UINT32_MAX;
constexpr uint64_t kFactor0 = 0x9E3779B97F4A7C15u;
constexpr uint64_t kFactor1 = 0xD6E8FEB86659FD93u;

uint64_t mix(uint64_t value) {
  value *= kFactor0;
  return (value ^ (value >> 32)) * kFactor1;
}

void add(Signature& signature, uint64_t shingle) {
  const uint64_t hash = mix(shingle);
  uint32_t& least = signature[hash >> 57];
  least = std::min(least, static_cast<uint32_t>(hash >> 25));
}

uint64_t load(const char* bytes, size_t size) {
  uint64_t value = 0;
  std::memcpy(&value, bytes, size);
  return value;
}

// Every bin with a value: an empty one takes that of the next filled one.
Signature densified(const Signature& signature) {
  Signature dense = signature;
  uint32_t next = *std::ranges::find_if(signature, [](uint32_t bin) { return bin != kEmpty; });
  for (size_t i = kBins; i-- > 0;) next = dense[i] = dense[i] == kEmpty ? next : dense[i];
  return dense;
}

std::array<uint64_t, kBands> band_keys(const Signature& signature) {
  const Signature dense = densified(signature);
  std::array<uint64_t, kBands> keys;
  for (size_t band = 0; band < kBands; ++band) {
    uint64_t key = band;
    for (size_t row = 0; row < kRows; ++row) key = mix(key ^ dense[band * kRows + row]);
    keys[band] = key ^ (key >> 32);
  }
  return keys;
}

uint32_t tag_of(uint64_t key) { return static_cast<uint32_t>(key >> 32); }

}  // namespace

Signature signature_of(std::string_view document) {
  CHECK(!document.empty());
  Signature signature;
  signature.fill(kEmpty);
  if (document.size() < kShingleBytes) {
    add(signature, load(document.data(), document.size()));
    return signature;
  }
  const char* last = document.data() + document.size() - kShingleBytes;
  for (const char* at = document.data(); at <= last; ++at) add(signature, load(at, kShingleBytes));
  return signature;
}

double estimated_similarity(const Signature& a, const Signature& b) {
  int equal = 0;
  int filled = 0;
  for (size_t i = 0; i < kBins; ++i) {
    const bool any = (a[i] & b[i]) != kEmpty;
    filled += any ? 1 : 0;
    equal += any && a[i] == b[i] ? 1 : 0;
  }
  return static_cast<double>(equal) / std::max(filled, 1);
}

NearDuplicateIndex::NearDuplicateIndex(std::vector<Signature> signatures)
    : signatures_(std::move(signatures)), marked_(signatures_.size()) {
  std::vector<std::pair<uint64_t, uint32_t>> keys;
  for (uint32_t i = 0; i < signatures_.size(); ++i) {
    for (const uint64_t key : band_keys(signatures_[i])) keys.emplace_back(key, i);
  }
  std::sort(keys.begin(), keys.end());
  const auto starts_bucket = [&](size_t i) { return i == 0 || keys[i].first != keys[i - 1].first; };
  size_t buckets = 0;
  for (size_t i = 0; i < keys.size(); ++i) buckets += starts_bucket(i) ? 1 : 0;
  buckets_ = std::vector<Bucket>(buckets);
  slots_.resize(std::bit_ceil(std::max<size_t>(2 * buckets, 1)));
  uint32_t bucket = UINT32_MAX;
  for (size_t i = 0; i < keys.size(); ++i) {
    if (starts_bucket(i)) {
      insert(keys[i].first, ++bucket);
      buckets_[bucket].key = keys[i].first;
      buckets_[bucket].first_open = static_cast<uint32_t>(i);
    }
    members_.push_back(keys[i].second);
    buckets_[bucket].end = static_cast<uint32_t>(i + 1);
  }
}

void NearDuplicateIndex::insert(uint64_t key, uint32_t bucket) {
  size_t at = key & (slots_.size() - 1);
  while (slots_[at].bucket != UINT32_MAX) at = (at + 1) & (slots_.size() - 1);
  slots_[at] = {tag_of(key), bucket};
}

NearDuplicateIndex::Bucket* NearDuplicateIndex::find(uint64_t key) {
  for (size_t at = key & (slots_.size() - 1); slots_[at].bucket != UINT32_MAX; at = (at + 1) & (slots_.size() - 1)) {
    if (slots_[at].tag == tag_of(key) && buckets_[slots_[at].bucket].key == key) return &buckets_[slots_[at].bucket];
  }
  return nullptr;
}

void NearDuplicateIndex::mark_in(Bucket& bucket, const Signature& document) {
  uint32_t at = bucket.first_open.load(std::memory_order_relaxed);
  bool all_marked = true;
  for (; at < bucket.end; ++at) {
    const uint32_t member = members_[at];
    if (!is_marked(member) && estimated_similarity(signatures_[member], document) >= kNearDuplicate) {
      marked_[member].store(1, std::memory_order_relaxed);
    }
    all_marked = all_marked && is_marked(member);
    // Another thread may write a smaller value over this one, which costs time alone.
    if (all_marked) bucket.first_open.store(at + 1, std::memory_order_relaxed);
  }
}

void NearDuplicateIndex::mark_similar(const Signature& document) {
  for (const uint64_t key : band_keys(document)) {
    if (Bucket* bucket = find(key)) mark_in(*bucket, document);
  }
}

void NearDuplicateIndex::mark_connected() {
  std::vector<bool> done(signatures_.size());
  for (bool changed = true; changed;) {
    changed = false;
    for (size_t i = 0; i < signatures_.size(); ++i) {
      if (done[i] || !is_marked(i)) continue;
      mark_similar(signatures_[i]);
      done[i] = changed = true;
    }
  }
}

}  // namespace centavo
