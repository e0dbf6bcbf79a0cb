// Windows of text files as the validation of a data directory would read them, without making one; memory holds a few
// windows and one document.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "data/documents.h"
#include "data/sampler.h"
#include "data/sources.h"
#include "data/tokenizer.h"

namespace centavo {

// Cuts a row of documents, which comes piece by piece, into the windows of ValidationWindows (data/sampler.h).
class WindowCutter {
 public:
  // Appends a document's tokens to the row; false when there is none.
  using NextDocument = std::function<bool(std::vector<int32_t>& row)>;

  WindowCutter(int64_t seq_len, NextDocument next_document);

  // False when there is none. A row of fewer than two tokens has none.
  bool next(Window& window);

 private:
  void fill(int64_t tokens);
  void drop();

  int64_t seq_len_;
  NextDocument next_document_;
  std::vector<int32_t> row_;     // the part of the row from `begin_` on
  std::vector<int64_t> starts_;  // of documents, counted from the row's first token
  int64_t begin_ = 0;
  int64_t unseen_ = 0;  // the first token whose target has not been given out
  bool ended_ = false;
};

// The documents of `sources`, each behind <|endoftext|> where the tokenizer has it. Errors as in data/documents.h.
class TextWindows {
 public:
  // The tokenizer must outlive this object.
  TextWindows(std::vector<Source> sources, const Tokenizer& tokenizer, int64_t seq_len);
  TextWindows(const TextWindows&) = delete;
  TextWindows& operator=(const TextWindows&) = delete;

  bool next(Window& window) { return cutter_.next(window); }

  int64_t documents() const { return documents_; }
  // Of the files, compressed or not.
  int64_t bytes_read() const;
  int64_t bytes_total() const;

 private:
  bool next_document(std::vector<int32_t>& row);

  std::vector<Source> sources_;
  const Tokenizer& tokenizer_;
  Encoder encoder_;
  size_t source_ = 0;
  std::unique_ptr<DocumentReader> reader_;
  int64_t documents_ = 0;
  int64_t bytes_before_ = 0;  // of the files that have been read
  WindowCutter cutter_;
};

}  // namespace centavo
