// The decompressed bytes of a source, piece by piece; memory does not grow with the file.
//
// gzip may have several members, zstd several frames; each carries a checksum or not, as it was written.
//
// Errors: a UserError when the file ends inside a member or frame, does not match its checksum, is not what its name
// says, or asks for a zstd window above 128 MiB.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>

#include "data/sources.h"

namespace centavo {

class ByteStream {
 public:
  explicit ByteStream(const Source& source);
  ~ByteStream();
  ByteStream(ByteStream&&) noexcept;
  ByteStream& operator=(ByteStream&&) noexcept;

  // The next bytes, at most a few hundred KiB; valid until the next call. Empty at the end.
  std::string_view next();

  // Bytes of the file read so far.
  int64_t file_bytes() const;
  // XXH3-64 of those.
  uint64_t file_hash() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace centavo
