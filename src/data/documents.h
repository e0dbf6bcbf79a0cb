// The documents of a source, one after another; memory holds one of them.
//
//   jsonl   a line is an object, and the string in its field `text` a document. Blank lines are skipped. A line has at
//           most 64 MiB
//   plain   every literal <|endoftext|> ends a document. What lies between, if longer than 64 KiB, is cut behind the
//           first blank line that ends between 64 and 128 KiB; or else behind the first line end there; or else at
//           128 KiB, before a character that would be cut. What remains is cut in the same way
//
// A byte order mark before the text is dropped; line ends stay as they are. Documents of nothing but spaces, tabs and
// line ends are skipped.
//
// Errors: a UserError with file and line (jsonl) or byte position in the decompressed text, for bytes that are not
// UTF-8, for NUL bytes and known binary formats, for lines that are too long, not JSON, not an object, or have no
// string `text`. And those of byte_stream.h.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>

#include "data/sources.h"

namespace centavo {

class DocumentReader {
 public:
  explicit DocumentReader(const Source& source);
  ~DocumentReader();
  DocumentReader(DocumentReader&&) noexcept;
  DocumentReader& operator=(DocumentReader&&) noexcept;

  // The next document's text, valid until the next call; nothing at the end.
  std::optional<std::string_view> next();

  // As in byte_stream.h: how far the file is read, and the hash of that part.
  int64_t file_bytes() const;
  uint64_t file_hash() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace centavo
