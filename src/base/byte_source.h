// Bytes that wait to be written, wherever they lie: in memory, or where only a copy reaches them (a GPU).
#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <string_view>

namespace centavo {

class ByteSource {
 public:
  // Copies the bytes from `first` on, as many as `to` holds.
  using Reader = std::function<void(size_t first, std::span<std::byte> to)>;
  using Sink = std::function<void(std::span<const std::byte> bytes)>;

  ByteSource() = default;
  // Memory that must outlive this object; it is never copied.
  ByteSource(std::span<const std::byte> memory);  // NOLINT: a source like any other
  ByteSource(std::string_view text);              // NOLINT
  ByteSource(size_t size, Reader reader);

  size_t size() const { return size_; }
  // Bytes [first, first + size). CHECKs that they are there.
  ByteSource part(size_t first, size_t size) const;
  // Hands all bytes to `sink`, in order: memory as one, the rest in pieces of at most kPiece.
  void stream(const Sink& sink) const;

  static constexpr size_t kPiece = size_t{4} << 20;  // a multiple of every element

 private:
  const std::byte* memory_ = nullptr;
  Reader reader_;
  size_t first_ = 0;
  size_t size_ = 0;
};

}  // namespace centavo
