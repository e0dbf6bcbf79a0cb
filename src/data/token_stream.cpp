#include "data/token_stream.h"

#include <algorithm>

#include "base/errors.h"

namespace centavo {

TokenStream::TokenStream(std::vector<ShardReader> shards) : shards_(std::move(shards)), begins_{0} {
  for (const ShardReader& shard : shards_) begins_.push_back(begins_.back() + shard.tokens());
}

int64_t TokenStream::documents() const {
  int64_t documents = 0;
  for (const ShardReader& shard : shards_) documents += shard.documents();
  return documents;
}

template <class F>
void TokenStream::for_each_part(int64_t begin, int64_t end, const F& f) const {
  CHECK(0 <= begin && begin <= end && end <= size(), "tokens {} to {} of {}", begin, end, size());
  auto next = std::upper_bound(begins_.begin(), begins_.end(), begin);
  for (size_t i = static_cast<size_t>(next - begins_.begin()) - 1; i < shards_.size() && begins_[i] < end; ++i) {
    const int64_t place = begins_[i];
    f(shards_[i], place, std::max(begin - place, int64_t{0}), std::min(end, begins_[i + 1]) - place);
  }
}

void TokenStream::read(int64_t start, std::span<int32_t> to) const {
  for_each_part(start, start + static_cast<int64_t>(to.size()),
                [&](const ShardReader& shard, int64_t place, int64_t a, int64_t b) {
                  shard.read(a, to.subspan(static_cast<size_t>(place + a - start), static_cast<size_t>(b - a)));
                });
}

void TokenStream::document_starts(int64_t begin, int64_t end, std::vector<int64_t>& to) const {
  to.clear();
  for_each_part(begin, end, [&](const ShardReader& shard, int64_t place, int64_t a, int64_t b) {
    shard.document_starts(a, b, place, to);
  });
}

}  // namespace centavo
