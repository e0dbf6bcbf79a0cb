#include "train/text_windows.h"

#include <algorithm>

#include "base/errors.h"

namespace centavo {

WindowCutter::WindowCutter(int64_t seq_len, NextDocument next_document)
    : seq_len_(seq_len), next_document_(std::move(next_document)) {
  CHECK(seq_len >= 1, "seq_len {}", seq_len);
}

// Reads documents until the row reaches `tokens`, or its end.
void WindowCutter::fill(int64_t tokens) {
  while (!ended_ && begin_ + std::ssize(row_) < tokens) {
    const int64_t start = begin_ + std::ssize(row_);
    ended_ = !next_document_(row_);
    if (!ended_) starts_.push_back(start);
  }
}

// The last window of all may begin up to seq_len tokens before what is unseen. Seldom, as one document may be long.
void WindowCutter::drop() {
  const int64_t keep_from = std::max<int64_t>(0, unseen_ - seq_len_);
  if (keep_from - begin_ < std::ssize(row_) / 2) return;
  row_.erase(row_.begin(), row_.begin() + (keep_from - begin_));
  begin_ = keep_from;
  std::erase_if(starts_, [&](int64_t start) { return start < begin_; });
}

bool WindowCutter::next(Window& window) {
  fill(unseen_ + seq_len_ + 1);
  const int64_t end = begin_ + std::ssize(row_);
  if (end - unseen_ < 2) return false;
  const int64_t start = std::clamp<int64_t>(end - 1 - seq_len_, 0, unseen_);
  const int64_t size = std::min(seq_len_ + 1, end - start);
  const auto first = row_.begin() + (start - begin_);
  window.tokens.assign(first, first + size);
  window.starts.clear();
  for (const int64_t document : starts_) {
    if (document >= start && document < start + size) window.starts.push_back(document - start);
  }
  window.first_target = unseen_ - start;
  unseen_ = start + size - 1;
  drop();
  return true;
}

TextWindows::TextWindows(std::vector<Source> sources, const Tokenizer& tokenizer, int64_t seq_len)
    : sources_(std::move(sources)),
      tokenizer_(tokenizer),
      encoder_(tokenizer),
      cutter_(seq_len, [this](std::vector<int32_t>& row) { return next_document(row); }) {}

bool TextWindows::next_document(std::vector<int32_t>& row) {
  while (source_ < sources_.size()) {
    if (!reader_) reader_ = std::make_unique<DocumentReader>(sources_[source_]);
    if (const std::optional<std::string_view> text = reader_->next()) {
      if (tokenizer_.end_of_text()) row.push_back(*tokenizer_.end_of_text());
      encoder_.encode(*text, row);
      ++documents_;
      return true;
    }
    bytes_before_ += sources_[source_++].size_bytes;
    reader_.reset();
  }
  return false;
}

int64_t TextWindows::bytes_read() const { return bytes_before_ + (reader_ ? reader_->file_bytes() : 0); }

int64_t TextWindows::bytes_total() const {
  int64_t total = 0;
  for (const Source& source : sources_) total += source.size_bytes;
  return total;
}

}  // namespace centavo
