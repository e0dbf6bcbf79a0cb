#include "base/byte_source.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "base/errors.h"

namespace centavo {

ByteSource::ByteSource(std::span<const std::byte> memory) : memory_(memory.data()), size_(memory.size()) {}

ByteSource::ByteSource(std::string_view text) : ByteSource(std::as_bytes(std::span(text))) {}

ByteSource::ByteSource(size_t size, Reader reader) : reader_(std::move(reader)), size_(size) {}

ByteSource ByteSource::part(size_t first, size_t size) const {
  CHECK(first <= size_ && size <= size_ - first, "bytes [{}, {} + {}) of {}", first, first, size, size_);
  ByteSource part = *this;
  part.first_ += first;
  part.size_ = size;
  return part;
}

void ByteSource::stream(const Sink& sink) const {
  if (!reader_) {
    if (size_ > 0) sink({memory_ + first_, size_});
    return;
  }
  std::vector<std::byte> room(std::min(size_, kPiece));
  for (size_t done = 0; done < size_; done += room.size()) {
    const std::span<std::byte> piece = std::span(room).first(std::min(room.size(), size_ - done));
    reader_(first_ + done, piece);
    sink(piece);
  }
}

}  // namespace centavo
