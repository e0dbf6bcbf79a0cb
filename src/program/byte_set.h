// A set of bytes as disjoint, sorted ranges.
#pragma once

#include <algorithm>
#include <cstdint>
#include <iterator>
#include <map>

namespace centavo {

class ByteSet {
 public:
  void insert(int64_t begin, int64_t end) {
    auto it = ranges_.upper_bound(begin);
    if (it != ranges_.begin() && std::prev(it)->second >= begin) {
      --it;
      begin = it->first;
    }
    while (it != ranges_.end() && it->first <= end) {
      end = std::max(end, it->second);
      it = ranges_.erase(it);
    }
    ranges_[begin] = end;
  }
  bool contains(int64_t begin, int64_t end) const {
    const auto it = ranges_.upper_bound(begin);
    return it != ranges_.begin() && std::prev(it)->second >= end;
  }
  // Is the whole set inside [begin, end)?
  bool within(int64_t begin, int64_t end) const {
    return ranges_.empty() || (ranges_.begin()->first >= begin && ranges_.rbegin()->second <= end);
  }
  void clear() { ranges_.clear(); }

 private:
  std::map<int64_t, int64_t> ranges_;  // begin -> end
};

}  // namespace centavo
